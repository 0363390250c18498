"""Each way around TensorFlow is still needed: a failure here says that one can go."""

import types

import pytest


def test_a_worker_without_gpus_would_get_one_cpu(tf) -> None:
    from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

    from trainer.nn.compat import worker_cpus

    resolver = types.SimpleNamespace(num_accelerators=lambda: {})

    def devices() -> list[str]:
        found, kind = CollectiveAllReduceExtended._initialize_local_devices(None, resolver, "/worker")
        assert kind == "CPU"
        return list(found)

    before = CollectiveAllReduceExtended._initialize_local_devices
    assert len(tf.config.list_logical_devices("CPU")) == 2
    assert devices() == ["/worker/device:CPU:0"]
    with pytest.raises(ZeroDivisionError), worker_cpus(2):
        assert devices() == ["/worker/device:CPU:0", "/worker/device:CPU:1"]
        raise ZeroDivisionError
    assert CollectiveAllReduceExtended._initialize_local_devices is before


def test_collectives_would_get_a_key_at_every_call(tf) -> None:
    from tensorflow.python.distribute.cross_device_utils import CollectiveReplicaLauncher

    from trainer.nn.compat import number_collectives_once

    before = CollectiveReplicaLauncher._prefer_unique_instance_key
    try:
        CollectiveReplicaLauncher._prefer_unique_instance_key = True  # TensorFlow's own choice
        assert CollectiveReplicaLauncher._use_unique_instance_key(None)
        number_collectives_once()
        assert not CollectiveReplicaLauncher._use_unique_instance_key(None)
    finally:
        CollectiveReplicaLauncher._prefer_unique_instance_key = before


def test_nothing_public_tells_of_xla(tf) -> None:
    from trainer.nn.compat import inside_xla

    seen = []

    def trace(x):
        seen.append(inside_xla())
        return x

    tf.function(trace, jit_compile=False)(tf.constant(1.0))
    tf.function(trace, jit_compile=True)(tf.constant(1.0))
    assert seen == [False, True]
    assert not [name for name in dir(tf.xla) if "context" in name]

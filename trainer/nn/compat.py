"""Private parts of TensorFlow 2.21 that there is no public way to, each with its reason.

`tests/unit/nn/test_compat.py` fails when TensorFlow no longer needs one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.distribute.cross_device_utils import CollectiveReplicaLauncher
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext


def inside_xla() -> bool:
    """Whether what is traced here and now will be compiled by XLA, which has no cuDNN kernels; TensorFlow tells its own
    layers alone.
    """
    return not tf.executing_eagerly() and bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def number_collectives_once() -> None:
    """Gives each collective its instance key when its function is traced, not anew at every call.

    TensorFlow keeps a record of every key for ever, in C++ on each worker and as a tensor in Python: some kilobytes a
    call. Keys of the trace are safe where all workers trace the same functions in the same order, as ours do: they run
    one program on one data set.
    """
    CollectiveReplicaLauncher._prefer_unique_instance_key = False


@contextlib.contextmanager
def worker_cpus(count: int) -> Iterator[None]:
    """Lets a `MultiWorkerMirroredStrategy` that is made inside use `count` logical CPU devices of its worker.

    Without GPUs TensorFlow takes one, and has no argument for more.
    """
    if count <= 1:
        yield
        return

    def devices(self: object, resolver: object, worker_device: str) -> tuple[tuple[str, ...], str]:
        return tuple(f"{worker_device}/device:CPU:{index}" for index in range(count)), "CPU"

    before = CollectiveAllReduceExtended._initialize_local_devices
    CollectiveAllReduceExtended._initialize_local_devices = devices
    try:
        yield
    finally:
        CollectiveAllReduceExtended._initialize_local_devices = before

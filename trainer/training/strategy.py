"""Devices and the strategy that shares a step among them."""

from __future__ import annotations

import contextlib
import ctypes
import os

import tensorflow as tf

from trainer.cli.quiet import GPU_DEVICE
from trainer.config.train import DeviceFlags, TrainConfig
from trainer.errors import ConfigError, Problem
from trainer.nn.compat import number_collectives_once, worker_cpus
from trainer.training.cluster import Cluster, batch_problem, batch_shares


def configure_devices(config: DeviceFlags) -> list[str]:
    """Claims the devices of this host, before any op has run, and names those to train on.

    GPUs where there are any (their memory grows as needed); else `devices_per_worker` logical devices on the CPU.

    Raises:
      ConfigError: there are fewer GPUs than are required or requested, or cuDNN without any.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    requested = config.devices_per_worker
    if config.require_gpus > len(gpus):
        reason = f"is more than the {len(gpus)} GPUs that TensorFlow finds" if gpus else f"finds none: {_no_gpu()}"
        raise ConfigError([Problem("require_gpus", config.require_gpus, reason, "mend the host, or leave it out")])
    if gpus:
        if requested > len(gpus):
            raise ConfigError(
                [
                    Problem(
                        "devices_per_worker",
                        requested,
                        f"is more than the {len(gpus)} GPUs of this host",
                        f"use {len(gpus)}",
                    )
                ]
            )
        for gpu in gpus:
            with contextlib.suppress(RuntimeError):  # already initialised: a second run in one process (tests)
                tf.config.experimental.set_memory_growth(gpu, True)
        return [f"/gpu:{i}" for i in range(requested or (1 if config.strategy == "one_device" else len(gpus)))]
    if config.kernel == "cudnn":
        raise ConfigError(
            [
                Problem(
                    "kernel", config.kernel, "needs a GPU, and TensorFlow finds none on this host", "use --kernel=auto"
                )
            ]
        )
    count = max(requested, 1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    made = tf.config.get_logical_device_configuration(cpu)
    if count > 1 and (made is None or len(made) < count):
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        except RuntimeError as error:
            raise ConfigError(
                [Problem("devices_per_worker", requested, f"came too late ({error})", "set it before TensorFlow runs")]
            ) from None
    return [f"/cpu:{i}" for i in range(count)]


def _no_gpu() -> str:
    """Why TensorFlow finds no GPU, as far as the system tells."""
    if not GPU_DEVICE.exists():
        return f"{GPU_DEVICE} is not there, so this container or host has no GPU or no driver"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"{error} (LD_LIBRARY_PATH={os.environ.get('LD_LIBRARY_PATH', '')})"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r} hides them"
    return "the driver is there, and CUDA's libraries are not: install recurrent-trainer[gpu]"


def make_strategy(config: DeviceFlags, devices: list[str], cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """The strategy over `devices`, of every worker of a cluster where there is one.

    `MultiWorkerMirroredStrategy` on a cluster, `MirroredStrategy` for several devices or where it is asked for, else
    `OneDeviceStrategy`. With a cluster it returns when all workers have come, and must be called before any op has run.
    """
    if cluster is not None:
        return _multi_worker(devices, cluster)
    mirrored = config.strategy == "mirrored" or (config.strategy == "auto" and len(devices) > 1)
    if mirrored:
        return tf.distribute.MirroredStrategy(devices, cross_device_ops=_cross_device_ops(devices))
    return tf.distribute.OneDeviceStrategy(devices[0])


def _cross_device_ops(devices: list[str]) -> tf.distribute.CrossDeviceOps:
    if _on_gpus(devices):
        return tf.distribute.NcclAllReduce()
    return tf.distribute.ReductionToOneDevice(reduce_to_device="/cpu:0")


def _multi_worker(devices: list[str], cluster: Cluster) -> tf.distribute.Strategy:
    """NCCL between GPUs, a ring over gRPC between CPUs.

    Without `timeout_seconds`: TensorFlow 2.21 starts a thread for every collective that has a time-out, which sleeps
    until the time-out is over even if the collective took a millisecond. The supervisor sees a silent peer without it.
    """
    implementation = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=implementation.NCCL if _on_gpus(devices) else implementation.RING
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
        num_accelerators={"GPU": len(devices)} if _on_gpus(devices) else {},
    )
    number_collectives_once()
    with worker_cpus(0 if _on_gpus(devices) else len(devices)):
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver, communication_options=options)


def _on_gpus(devices: list[str]) -> bool:
    return devices[0].startswith("/gpu")


def check_batch(config: TrainConfig, rows: tuple[int, ...], replicas: int) -> None:
    """Raises ConfigError where a global batch, which may have any of `rows`, cannot be split evenly over all that share
    it.
    """
    size = config.budget.batch_size
    parts, what = batch_shares(config, replicas)
    odd = [count for count in rows if count % parts]
    if odd and rows != (size,):
        reason = f"gives batches of {odd[0]} rows, which cannot be split over {parts} {what}"
        raise ConfigError([next(group for group in config.task_groups if group.rows_from_data).rows_problem(reason)])
    if odd:
        raise ConfigError([batch_problem(size, parts, what)])


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy of a `--precision`: products in it, weights and sums in float32."""
    return "float32" if precision == "float32" else f"mixed_{precision}"

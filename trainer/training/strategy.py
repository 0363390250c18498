"""Devices and the strategy that shares a step among them."""

from __future__ import annotations

import contextlib

import tensorflow as tf

from trainer.config import DeviceConfig, TrainConfig
from trainer.errors import ConfigError, Problem


def configure_devices(config: DeviceConfig) -> list[str]:
    """Claims the devices of this host, before any op has run, and names those to train on.

    GPUs where there are any (their memory grows as needed); else `devices_per_worker` logical devices on the CPU.

    Raises:
      ConfigError: more GPUs are asked for than there are.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    wanted = config.devices_per_worker
    if gpus:
        if wanted > len(gpus):
            raise ConfigError(
                [Problem("devices_per_worker", wanted, f"is more than the {len(gpus)} GPUs of this host", f"use {len(gpus)}")]
            )
        for gpu in gpus:
            with contextlib.suppress(RuntimeError):  # already initialised: a second run in one process (tests)
                tf.config.experimental.set_memory_growth(gpu, True)
        return [f"/gpu:{i}" for i in range(wanted or (1 if config.strategy == "one_device" else len(gpus)))]
    count = max(wanted, 1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    made = tf.config.get_logical_device_configuration(cpu)
    if count > 1 and (made is None or len(made) < count):
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        except RuntimeError as error:
            raise ConfigError(
                [Problem("devices_per_worker", wanted, f"came too late ({error})", "set it before TensorFlow runs")]
            ) from None
    return [f"/cpu:{i}" for i in range(count)]


def make_strategy(config: DeviceConfig, devices: list[str]) -> tf.distribute.Strategy:
    """`OneDeviceStrategy` for one device, `MirroredStrategy` for several or where it is asked for."""
    mirrored = config.strategy == "mirrored" or (config.strategy == "auto" and len(devices) > 1)
    if mirrored:
        return tf.distribute.MirroredStrategy(devices, cross_device_ops=_cross_device_ops(devices))
    return tf.distribute.OneDeviceStrategy(devices[0])


def _cross_device_ops(devices: list[str]) -> tf.distribute.CrossDeviceOps:
    if devices[0].startswith("/gpu"):
        return tf.distribute.NcclAllReduce()
    return tf.distribute.ReductionToOneDevice(reduce_to_device="/cpu:0")


def check_batch(config: TrainConfig, rows: tuple[int, ...], replicas: int) -> None:
    """Raises ConfigError where a global batch, which may have any of `rows`, cannot be split evenly over the replicas."""
    odd = [count for count in rows if count % replicas]
    size = config.budget.batch_size
    if odd and rows != (size,):
        told = f"gives batches of {odd[0]} rows, which cannot be split over {replicas} replicas"
        raise ConfigError([Problem("batch_unit", config.translation.batch_unit, told, "use --batch_unit=sentences")])
    if odd:
        low = size // replicas * replicas
        choices = f"{low} or {low + replicas}" if low else str(replicas)
        raise ConfigError([Problem("batch_size", size, f"cannot be split over {replicas} replicas", f"use {choices}")])


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy of a `--precision`: products in it, weights and sums in float32."""
    return "float32" if precision == "float32" else f"mixed_{precision}"

"""The records of shards: read in parallel, damage told by file and record."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from trainer.dataset import tfrecord
from trainer.errors import DataError, LocationError, RestartError, TrainerError
from trainer.storage import staging
from trainer.storage.addresses import is_address

PARALLEL_SHARDS = 8


def record_shards(paths: list[str]) -> tf.data.Dataset:
    """Serialized records of all shards, read in parallel (each record's checksum is verified by the reader)."""
    files = tf.data.Dataset.from_tensor_slices(paths)
    if any(map(staging.is_coming, paths)):  # one is read while those after it are on their way
        files = tf.data.Dataset.from_generator(
            lambda: map(staging.arrived, paths), output_signature=tf.TensorSpec([], tf.string)
        )
    return files.interleave(
        tf.data.TFRecordDataset, cycle_length=PARALLEL_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def read_checked(dataset: tf.data.Dataset, paths: list[str]) -> Iterator[dict[str, tf.Tensor]]:
    """Iterates a dataset over shards.

    Raises:
      DataError: a record is damaged; the text names file and record.
      LocationError, RestartError: shards in a bucket may not be read, or their storage does not answer.
    """
    try:
        yield from dataset
    except tf.errors.OpError as error:
        for path in paths:
            staging.arrived(path)  # raises what kept it from coming
            _find_damage(path)
        streamed = is_address(paths[0])
        if streamed and isinstance(error, tf.errors.DataLossError):
            raise RestartError(
                f"{paths[0]} or a sibling arrived damaged, and whole when read again; run the same command again"
            ) from None
        if not isinstance(error, tf.errors.DataLossError | tf.errors.InvalidArgumentError):
            raise
        raise DataError(
            f"{paths[0]} and its siblings hold records of another kind ({error.message}); prepare the dataset again"
        ) from None


def _find_damage(path: str) -> None:
    """Reads a shard, and raises what is wrong with it."""
    if not is_address(path):
        for _ in tfrecord.scan(path):
            pass
        return
    record = 0
    try:
        for _ in tf.data.TFRecordDataset(path):
            record += 1
    except tf.errors.DataLossError:
        raise DataError(
            f"{path} record {record} is truncated or damaged; prepare the dataset again, or copy the file again"
        ) from None
    except tf.errors.OpError as error:
        raise _stream_failure(path, error) from None


def _stream_failure(path: str, error: tf.errors.OpError) -> TrainerError:
    """An error of TensorFlow's file system, with a remedy; it has asked several times already."""
    reason = error.message.strip().partition("\n")[0][:200]
    if isinstance(error, tf.errors.NotFoundError):
        return DataError(f"{path} is not there any more; restore it or prepare the dataset again")
    if isinstance(error, tf.errors.PermissionDeniedError | tf.errors.UnauthenticatedError):
        remedy = "let GOOGLE_APPLICATION_CREDENTIALS name an account that may, or use --gcs=stage"
        return LocationError(path, f"may not be read with --gcs=stream ({reason})", remedy)
    return RestartError(f"{path} cannot be read ({reason}); run the same command again, or use --gcs=stage")

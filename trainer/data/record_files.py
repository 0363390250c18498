"""The records of shards: read in parallel, damage told by file and record."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from trainer.data import tfrecord
from trainer.errors import DataError

PARALLEL_SHARDS = 8


def record_shards(paths: list[str]) -> tf.data.Dataset:
    """Serialized records of all shards, read in parallel (each record's checksum is verified by the reader)."""
    files = tf.data.Dataset.from_tensor_slices(paths)
    return files.interleave(tf.data.TFRecordDataset, cycle_length=PARALLEL_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def read_checked(dataset: tf.data.Dataset, paths: list[str]) -> Iterator[dict[str, tf.Tensor]]:
    """Iterates a dataset over shards; a damaged record becomes a DataError that names file and record."""
    try:
        yield from dataset
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        for path in paths:
            for _ in tfrecord.scan(path):  # raises at the damaged record
                pass
        raise DataError(f"{paths[0]} and its siblings hold records of another kind ({error.message}); prepare the dataset again") from None

"""Writes the shards of a dataset: one job a shard, named as TFDS names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trainer.dataset.schema import Shard
from trainer.dataset.tfrecord import FeatureValue, RecordWriter, encode_example
from trainer.storage.atomic_file import atomic_file


class Content(Protocol):
    """The records of a shard. Instances can be sent to other processes."""

    def records(self, counts: Counter[str]) -> Iterator[Mapping[str, FeatureValue]]:
        """Yields the records; adds what it counts on the way, which is summed over the shards of a split
        (`longest_...`: the largest).
        """


@dataclass(frozen=True)
class RecordList:
    """Records that are in memory already."""

    items: list[dict[str, FeatureValue]]

    def records(self, counts: Counter[str]) -> Iterator[Mapping[str, FeatureValue]]:
        counts["records"] += len(self.items)
        yield from self.items


@dataclass(frozen=True)
class ShardJob:
    """One shard: what it holds and the file to write, which appears whole."""

    path: Path
    content: Content


def shard_file(prefix: str, split: str, number: int, count: int) -> str:
    return f"{prefix}-{split}.tfrecord-{number:05d}-of-{count:05d}"


def write_shard(job: ShardJob) -> dict[str, Any]:
    """Writes one shard, a `tf.train.Example` a record; gives what `read_result` reads. Raises OSError where the file
    system refuses.
    """
    counts: Counter[str] = Counter()
    with atomic_file(job.path) as path, RecordWriter(path) as writer:
        for features in job.content.records(counts):
            writer.write(encode_example(features))
    shard = Shard(job.path.name, writer.records, writer.bytes, writer.crc32c)
    return {"shard": [shard.file, shard.records, shard.bytes, shard.crc32c], "counts": counts}


def read_result(result: Mapping[str, Any]) -> tuple[Shard, Counter[str]]:
    """The shard and the counts that `write_shard` gave, from JSON."""
    return Shard(*result["shard"]), Counter(result["counts"])


def total(counts: Iterable[Counter[str]]) -> Counter[str]:
    """The counts of a split from those of its shards."""
    summed: Counter[str] = Counter()
    for each in counts:
        for name, value in each.items():
            summed[name] = max(summed[name], value) if name.startswith("longest_") else summed[name] + value
    return summed

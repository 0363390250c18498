"""Writes the shards of a dataset: one job a shard, named as TFDS names them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from trainer.data.manifest import Shard, Split
from trainer.data.parallel import run_jobs
from trainer.data.tfrecord import FeatureValue, RecordWriter, encode_example

Content = TypeVar("Content")


def dataset_name(output_dir: str) -> str:
    """The snake-case name that TFDS accepts, from the directory's base name."""
    words = re.sub(r"[^a-z0-9]+", "_", Path(output_dir).resolve().name.lower()).strip("_")
    return words if words[:1].isalpha() else f"dataset_{words}".rstrip("_")


def write_records(path: Path, records: Iterable[Mapping[str, FeatureValue]]) -> Shard:
    """Writes one shard, a `tf.train.Example` a record; raises OSError where the file system refuses."""
    with RecordWriter(path) as writer:
        for features in records:
            writer.write(encode_example(features))
    return Shard(path.name, writer.records, writer.bytes, writer.crc32c)


def write_splits(
    directory: Path,
    name: str,
    plans: Mapping[str, Sequence[Content]],
    write: Callable[[tuple[Path, Content]], Shard],
    processes: int = 1,
) -> dict[str, Split]:
    """Writes all shards of all splits.

    Args:
      directory: where.
      name: the dataset's, as `dataset_name` gives it.
      plans: split -> what each of its shards holds.
      write: writes one shard, given its path and content; importable by name where `processes` is above 1.
      processes: at most this many write at once.

    Returns:
      What was written, split by split.
    """
    jobs = [
        (directory / f"{name}-{split}.tfrecord-{index:05d}-of-{len(plan):05d}", content)
        for split, plan in plans.items()
        for index, content in enumerate(plan)
    ]
    written: list[Shard] = []
    with tqdm(total=len(jobs), unit=" shards", desc="write", disable=not sys.stderr.isatty()) as bar:
        for shard in run_jobs(write, jobs, processes):
            written.append(shard)
            seconds = max(bar.format_dict["elapsed"], 1e-3)
            bar.set_postfix_str(f"{sum(each.bytes for each in written) / seconds / 1e6:.0f} MB/s", refresh=False)
            bar.update()
    shards = iter(written)
    splits = {}
    for split, plan in plans.items():
        own = tuple(next(shards) for _ in plan)
        splits[split] = Split(sum(shard.records for shard in own), own)
    return splits

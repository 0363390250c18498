"""What can be fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import damaged_datasets, raw_files


@dataclass(frozen=True)
class Target:
    """`check` takes an input and an empty directory; it raises, whatever it be, where the program is at fault."""

    check: Callable[[bytes, Path], None]
    seeds: Callable[[], tuple[bytes, ...]]


TARGETS = {
    "csv": Target(raw_files.check_csv, lambda: raw_files.CSV_SEEDS),
    "npy": Target(raw_files.check_npy, lambda: raw_files.NPY_SEEDS),
    "text": Target(raw_files.check_text, lambda: raw_files.TEXT_SEEDS),
    "pairs": Target(raw_files.check_pairs, lambda: raw_files.PAIR_SEEDS),
    "manifest": Target(damaged_datasets.check_manifest, lambda: damaged_datasets.seeds("dataset.json")),
    "shard": Target(damaged_datasets.check_shard, lambda: damaged_datasets.seeds(".tfrecord-")),
    "store": Target(damaged_datasets.check_store, lambda: damaged_datasets.seeds(".tfrecord-")),
    "vocabulary": Target(damaged_datasets.check_vocabulary, lambda: damaged_datasets.seeds("vocabulary")),
}

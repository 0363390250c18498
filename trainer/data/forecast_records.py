"""Series -> a dataset directory: split borders, standardisation, records in shards, the manifest.

A record is a chunk of consecutive rows of one group within one split, with the features
  group     int64 scalar   index of the group in `dataset.json`
  start     int64 scalar   row number of the chunk's first row in its group
  values    float32 [rows, columns]   raw units, 0.0 where missing
  observed  uint8 [rows, columns]     1 where there is a value, 0 where it is missing
  time      int64 [rows]   Unix seconds; absent where the series have no dates
The arrays are little-endian bytes, which TFDS reads as `Tensor(..., encoding='bytes')`.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

import trainer
from trainer.config import SPLITS
from trainer.data import intervals, manifest
from trainer.data.csv_series import RawSeries
from trainer.data.manifest import Feature, Manifest, SeriesFacts, SeriesGroup, Shard, Split
from trainer.data.tfrecord import RecordWriter, encode_example
from trainer.errors import DataError, StorageError

MAX_RECORD_ROWS = 4096
MAX_RECORD_BYTES = 1 << 24  # of wide series, fewer rows: a reader holds several records at once
POOL_BYTES = 256 << 20  # writing less takes no longer than starting a pool
COARSE = 1e5  # |mean| / std above which float32 (7 digits) keeps less than two digits of the variation

_log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Group:
    """A series and its splits: split -> first row, row after the last."""

    series: RawSeries
    splits: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class _Chunk:
    group: int
    start: int
    values: np.ndarray
    times: np.ndarray | None


def split_rows(rows: int, splits: Sequence[str], source: str, elsewhere: Collection[str] = ()) -> dict[str, tuple[int, int]]:
    """Borders of train, validation and test in a group of `rows` rows, in time order; empty splits are absent.

    Args:
      rows: rows of the group.
      splits: up to three sizes, all fractions (0 to 1) or all rows, as `PrepareConfig` checks them.
      source: the file, for errors.
      elsewhere: splits that have files of their own: the group has no part in them, their share goes to train.

    Raises:
      DataError: the group is too short.
    """
    sizes = dict(zip(SPLITS, (float(size) for size in splits)))
    fractions = all(size <= 1 for size in sizes.values())
    for name in elsewhere:
        sizes["train"] += sizes.pop(name, 0.0)
    shown = ",".join(splits)
    if not fractions and sum(sizes.values()) > rows:
        raise DataError(f"{source} has {rows} rows, --splits={shown} needs {sum(sizes.values()):.0f}; ask for fewer, or for fractions")
    borders: dict[str, tuple[int, int]] = {}
    first, total = 0, 0.0
    for name, size in sizes.items():
        total += size
        end = min(rows, round(rows * total)) if fractions else int(total)
        if size and end == first:
            raise DataError(f"{source} has {rows} rows, too few for the {name} split of --splits={shown}; give more data or other --splits")
        if size:
            borders[name] = (first, end)
        first = end
    if first < rows:
        _log.info("%s: the last %d of %d rows are in no split of --splits=%s", source, rows - first, rows, shown)
    return borders


def standardisation(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Population mean and standard deviation of the observed values, float64 [columns] each.

    A column without observed values has mean 0; std is 1 where a column is constant or has no observed values.
    """
    observed = ~np.isnan(values)
    counts = np.maximum(observed.sum(axis=0), 1)
    exact = np.where(observed, values, 0.0).astype(np.float64)
    mean = exact.sum(axis=0) / counts
    std = np.sqrt((np.where(observed, exact - mean, 0.0) ** 2).sum(axis=0) / counts)
    # Exactly 0 for a constant column: sums of float32 values are exact in float64 up to half a billion rows.
    return mean, np.where(std > 0, std, 1.0)


def write_dataset(groups: Sequence[Group], output_dir: str, num_shards: int, processes: int = 1) -> Manifest:
    """Writes the groups as a new dataset directory, which appears whole or not at all.

    Groups without training rows are standardised by the pooled training rows of the others.

    Args:
      groups: one or more, of equal columns and interval.
      output_dir: directory to make; its base name in snake case names the dataset.
      num_shards: shards a split; fewer where a split has fewer rows.
      processes: at most this many write at once.

    Raises:
      DataError: groups differ in columns or interval.
      ConfigError: `output_dir` exists and is not empty.
      StorageError: the file system refused; nothing is left behind.
    """
    facts = SeriesFacts(groups[0].series.columns, groups[0].series.interval, _described(groups))
    name = dataset_name(output_dir)
    with manifest.new_directory(output_dir) as directory:
        plans = {split: _shard_plan(groups, split, num_shards) for split in SPLITS if any(split in group.splits for group in groups)}
        jobs = [
            (directory / f"{name}-{split}.tfrecord-{index:05d}-of-{len(plan):05d}", tuple(chunks))
            for split, plan in plans.items()
            for index, chunks in enumerate(plan)
        ]
        shards = iter(_write_shards(jobs, processes))
        splits = {}
        for split, plan in plans.items():
            written = tuple(next(shards) for _ in plan)
            splits[split] = Split(sum(shard.records for shard in written), written)
        result = Manifest(name, "forecast", _features(facts), splits, facts, created_by=f"trainer {trainer.__version__}")
        manifest.write(result, directory)
    return result


def dataset_name(output_dir: str) -> str:
    """The snake-case name that TFDS accepts, from the directory's base name."""
    words = re.sub(r"[^a-z0-9]+", "_", Path(output_dir).resolve().name.lower()).strip("_")
    return words if words[:1].isalpha() else f"dataset_{words}".rstrip("_")


def _described(groups: Sequence[Group]) -> tuple[SeriesGroup, ...]:
    """What the manifest says of each group; checks that the groups fit together."""
    first = groups[0].series
    for group in groups[1:]:
        _check_alike(first, group.series)
    pooled: tuple[np.ndarray, np.ndarray] | None = None
    described = []
    for group in groups:
        series = group.series
        if "train" in group.splits:
            mean, std = standardisation(series.values[slice(*group.splits["train"])])
            _warn_coarse(series, mean, std)
        else:
            if pooled is None:
                parts = [other.series.values[slice(*other.splits["train"])] for other in groups if "train" in other.splits]
                pooled = standardisation(np.concatenate(parts))
            mean, std = pooled
        first_time = None if series.times is None else int(series.times[0])
        described.append(SeriesGroup(series.name, len(series.values), first_time, group.splits, tuple(mean.tolist()), tuple(std.tolist())))
    return tuple(described)


def _check_alike(first: RawSeries, other: RawSeries) -> None:
    if other.columns != first.columns:
        pairs = zip(other.columns, first.columns)
        odd = next((f"column {theirs!r} instead of {ours!r}" for theirs, ours in pairs if theirs != ours), "another number of columns")
        counts = f"{len(other.columns)} columns, {first.source} has {len(first.columns)}"
        raise DataError(f"{other.source} has {odd} ({counts}); give all files the same columns in one order, or prepare them apart")
    if other.interval != first.interval:
        theirs, ours = intervals.describe(other.interval), intervals.describe(first.interval)
        raise DataError(f"{other.source} has steps of {theirs}, {first.source} of {ours}; resample to one interval, or prepare them apart")


def _warn_coarse(series: RawSeries, mean: np.ndarray, std: np.ndarray) -> None:
    for column in np.flatnonzero((np.abs(mean) / std > COARSE) & (std != 1.0)):
        text = "%s: column %s varies by %.3g around %.6g, which float32 resolves coarsely; subtract a constant from it first"
        _log.warning(text, series.source, series.columns[column], std[column], mean[column])


def _features(facts: SeriesFacts) -> tuple[Feature, ...]:
    columns = len(facts.columns)
    features = (
        Feature("group", (), "int64", "index"),
        Feature("start", (), "int64", "row"),
        Feature("values", (None, columns), "float32", "raw"),
        Feature("observed", (None, columns), "uint8", "1 = observed"),
    )
    return features if facts.interval is None else (*features, Feature("time", (None,), "int64", "Unix seconds"))


def _shard_plan(groups: Sequence[Group], split: str, num_shards: int) -> list[list[_Chunk]]:
    """The chunks of each shard: the split's rows of all groups, one after the other, cut into shards of equal size."""
    pieces = [(index, *group.splits[split]) for index, group in enumerate(groups) if split in group.splits]
    total = sum(end - first for _, first, end in pieces)
    shards = min(num_shards, total)
    columns = len(groups[0].series.columns)
    longest = max(1, min(MAX_RECORD_ROWS, MAX_RECORD_BYTES // (5 * columns)))
    plan: list[list[_Chunk]] = [[] for _ in range(shards)]
    offset = 0  # of the piece's first row among all rows of the split
    for index, first, end in pieces:
        series = groups[index].series
        for shard in range(shards):
            low = max(first, first + total * shard // shards - offset)
            high = min(end, first + total * (shard + 1) // shards - offset)
            for start in range(low, high, longest):
                rows = slice(start, min(start + longest, high))
                plan[shard].append(_Chunk(index, start, series.values[rows], None if series.times is None else series.times[rows]))
        offset += end - first
    return plan


def _write_shards(jobs: Sequence[tuple[Path, tuple[_Chunk, ...]]], processes: int) -> list[Shard]:
    size = sum(chunk.values.nbytes for _, chunks in jobs for chunk in chunks)
    records = sum(len(chunks) for _, chunks in jobs)
    shards = []
    with tqdm(total=records, unit=" records", desc="write", disable=not sys.stderr.isatty()) as bar:
        for shard in run_jobs(_write_shard, jobs, processes if size > POOL_BYTES else 1):
            shards.append(shard)
            seconds = max(bar.format_dict["elapsed"], 1e-3)
            bar.set_postfix_str(f"{sum(each.bytes for each in shards) / seconds / 1e6:.0f} MB/s", refresh=False)
            bar.update(shard.records)
    return shards


def _write_shard(job: tuple[Path, tuple[_Chunk, ...]]) -> Shard:
    path, chunks = job
    with RecordWriter(path) as writer:
        for chunk in chunks:
            observed = ~np.isnan(chunk.values)
            features: dict[str, bytes | int] = {
                "group": chunk.group,
                "start": chunk.start,
                "values": np.where(observed, chunk.values, 0.0).astype("<f4").tobytes(),
                "observed": observed.astype(np.uint8).tobytes(),
            }
            if chunk.times is not None:
                features["time"] = chunk.times.astype("<i8").tobytes()
            writer.write(encode_example(features))
    return Shard(path.name, writer.records, writer.bytes, writer.crc32c)


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Yields `function(job)` in order, from a pool where `processes` is above 1; `function` must be importable by name.

    Raises:
      StorageError: a process of the pool was killed. Whatever `function` raises is raised here.
    """
    if processes <= 1 or len(jobs) <= 1:
        yield from map(function, jobs)
        return
    # Not forked: the caller may have threads. Workers leave Ctrl-C to the parent, and end with it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(jobs)), context, initializer=_start_worker)
    try:
        yield from pool.map(function, jobs)
    except BrokenProcessPool:
        raise StorageError("a worker process was killed, most likely for want of memory; use fewer --num_processes") from None
    finally:
        with contextlib.suppress(OSError):
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()

"""Series -> a dataset directory: split borders, standardisation, records in shards, the manifest.

A record is a chunk of consecutive rows of one group within one split, with the features
  group     int64 scalar   index of the group in `dataset.json`
  start     int64 scalar   row number of the chunk's first row in its group
  values    float32 [rows, columns]   raw units, 0.0 where missing
  observed  uint8 [rows, columns]     1 where there is a value, 0 where it is missing
  known     float32 [rows, known columns]   raw units, NaN where missing; absent where no column is known for the future
  time      int64 [rows]   Unix seconds; absent where the series have no dates
The arrays are little-endian bytes, which TFDS reads as `Tensor(..., encoding='bytes')`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import trainer
from trainer.config import SPLITS
from trainer.data import intervals, manifest
from trainer.data.covariates import describe_known, describe_static
from trainer.data.csv_series import RawSeries
from trainer.data.manifest import Feature, Manifest, SeriesFacts, SeriesGroup, Shard
from trainer.data.shards import dataset_name, write_records, write_splits
from trainer.data.tfrecord import FeatureValue
from trainer.errors import DataError

MAX_RECORD_ROWS = 4096
MAX_RECORD_BYTES = 1 << 24  # of wide series, fewer rows: a reader holds several records at once
POOL_BYTES = 256 << 20  # writing less takes no longer than starting a pool
COARSE = 1e5  # |mean| / std above which float32 (7 digits) keeps less than two digits of the variation

_log = logging.getLogger(__name__)


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
    known: np.ndarray | None
    times: np.ndarray | None


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
    facts = _facts(groups)
    name = dataset_name(output_dir)
    size = sum(group.series.values.nbytes for group in groups)
    with manifest.new_directory(output_dir) as directory:
        plans = {split: _shard_plan(groups, split, num_shards) for split in SPLITS if any(split in group.splits for group in groups)}
        splits = write_splits(directory, name, plans, _write_shard, processes if size > POOL_BYTES else 1)
        result = Manifest(name, "forecast", _features(facts), splits, facts, created_by=f"trainer {trainer.__version__}")
        manifest.write(result, directory)
    return result


def _facts(groups: Sequence[Group]) -> SeriesFacts:
    """What the manifest says of the groups; checks that they fit together."""
    first = groups[0].series
    for group in groups[1:]:
        _check_alike(first, group.series)
    trained = [group for group in groups if "train" in group.splits]
    series = [group.series for group in trained]
    known = describe_known(series, [slice(*group.splits["train"]) for group in trained])
    return SeriesFacts(first.columns, first.interval, _described(groups), known, describe_static(series))


def _described(groups: Sequence[Group]) -> tuple[SeriesGroup, ...]:
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
        statistics = tuple(mean.tolist()), tuple(std.tolist())
        described.append(SeriesGroup(series.name, len(series.values), first_time, group.splits, *statistics, tuple(series.static.values())))
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
    features: tuple[Feature, ...] = (
        Feature("group", (), "int64", "index"),
        Feature("start", (), "int64", "row"),
        Feature("values", (None, columns), "float32", "raw"),
        Feature("observed", (None, columns), "uint8", "1 = observed"),
    )
    if facts.known:
        features += (Feature("known", (None, len(facts.known)), "float32", "raw, NaN where missing"),)
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
                known = None if series.known is None else series.known.values[rows]
                plan[shard].append(_Chunk(index, start, series.values[rows], known, None if series.times is None else series.times[rows]))
        offset += end - first
    return plan


def _write_shard(job: tuple[Path, Sequence[_Chunk]]) -> Shard:
    path, chunks = job
    return write_records(path, map(_record, chunks))


def _record(chunk: _Chunk) -> dict[str, FeatureValue]:
    observed = ~np.isnan(chunk.values)
    features: dict[str, FeatureValue] = {
        "group": chunk.group,
        "start": chunk.start,
        "values": np.where(observed, chunk.values, 0.0).astype("<f4").tobytes(),
        "observed": observed.astype(np.uint8).tobytes(),
    }
    if chunk.known is not None:
        features["known"] = chunk.known.astype("<f4").tobytes()
    if chunk.times is not None:
        features["time"] = chunk.times.astype("<i8").tobytes()
    return features

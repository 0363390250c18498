"""Series -> the shards of a dataset.

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

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.dataset.schema import Feature
from trainer.dataset.tfrecord import FeatureValue
from trainer.errors import DataError
from trainer.tasks.forecast.data import intervals
from trainer.tasks.forecast.data.series_spool import Group

MAX_RECORD_ROWS = 4096
MAX_RECORD_BYTES = 1 << 24  # of wide series, fewer rows: a reader holds several records at once


@dataclass(frozen=True)
class SeriesShard:
    """Rows of groups: `rows` holds position in `groups`, number of the group, first row and row after the last of each
    stretch.
    """

    groups: list[Group]
    rows: list[tuple[int, int, int, int]]

    def records(self, counts: Counter[str]) -> Iterator[dict[str, FeatureValue]]:
        """Yields the records; counts their `rows`."""
        for position, number, first, end in self.rows:
            group = self.groups[position]
            longest = max(1, min(MAX_RECORD_ROWS, MAX_RECORD_BYTES // (5 * len(group.columns))))
            for start in range(first, end, longest):
                stop = min(start + longest, end)
                counts["rows"] += stop - start
                yield _record(group, number, start, stop)


def series_shards(groups: Sequence[Group], split: str, num_shards: int) -> list[SeriesShard]:
    """The split's rows of all groups, one after the other, cut into shards of equal size; fewer of few rows."""
    pieces = [(number, *group.splits[split]) for number, group in enumerate(groups) if split in group.splits]
    total = sum(end - first for _, first, end in pieces)
    shards = min(num_shards, total)
    plan: list[SeriesShard] = [SeriesShard([], []) for _ in range(shards)]
    offset = 0  # of the piece's first row among all rows of the split
    for number, first, end in pieces:
        # Only the shards that the piece may reach into: its first row is in the first of them, or in the one after.
        for shard in range(offset * shards // total, min(shards, (offset + end - first) * shards // total + 1)):
            low = max(first, first + total * shard // shards - offset)
            high = min(end, first + total * (shard + 1) // shards - offset)
            if low < high:
                plan[shard].groups.append(groups[number])
                plan[shard].rows.append((len(plan[shard].groups) - 1, number, low, high))
        offset += end - first
    return plan


def series_features(columns: int, *, dated: bool, known_columns: int = 0) -> tuple[Feature, ...]:
    features: tuple[Feature, ...] = (
        Feature("group", (), "int64", "index"),
        Feature("start", (), "int64", "row"),
        Feature("values", (None, columns), "float32", "raw"),
        Feature("observed", (None, columns), "uint8", "1 = observed"),
    )
    if known_columns:
        features += (Feature("known", (None, known_columns), "float32", "raw, NaN where missing"),)
    return (*features, Feature("time", (None,), "int64", "Unix seconds")) if dated else features


def check_alike(groups: Sequence[Group]) -> None:
    """Raises DataError where a group differs from the first in columns or interval."""
    first = groups[0]
    for other in groups[1:]:
        if other.columns != first.columns:
            pairs = zip(other.columns, first.columns)
            odd = next(
                (f"column {theirs!r} instead of {ours!r}" for theirs, ours in pairs if theirs != ours),
                "another number of columns",
            )
            counts = f"{len(other.columns)} columns, {first.source} has {len(first.columns)}"
            raise DataError(
                f"{other.source} has {odd} ({counts}); give all files the same columns in one order, or prepare them "
                "apart"
            )
        if other.interval != first.interval:
            theirs, ours = intervals.describe(other.interval), intervals.describe(first.interval)
            raise DataError(
                f"{other.source} has steps of {theirs}, {first.source} of {ours}; resample to one interval, or "
                "prepare them apart"
            )


def _record(group: Group, number: int, first: int, end: int) -> dict[str, FeatureValue]:
    values, times = group.values(first, end), group.times(first, end)
    observed = ~np.isnan(values)
    features: dict[str, FeatureValue] = {
        "group": number,
        "start": first,
        "values": np.where(observed, values, 0.0).astype("<f4").tobytes(),
        "observed": observed.astype(np.uint8).tobytes(),
    }
    if (known := group.known(first, end)) is not None:
        features["known"] = known.astype("<f4").tobytes()
    if times is not None:
        features["time"] = times.astype("<i8").tobytes()
    return features

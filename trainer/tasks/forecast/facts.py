"""A forecasting dataset in `dataset.json`: its series, their time axis, statistics and covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.config.splits import SPLITS
from trainer.dataset.schema import Facts, Manifest
from trainer.tasks.forecast.data.intervals import Interval, describe


@dataclass(frozen=True)
class KnownColumn:
    """A column of numbers that is known for the future too; mean and standard deviation are those of all training
    rows.
    """

    name: str
    mean: float
    std: float


@dataclass(frozen=True)
class StaticColumn:
    """A column with one text a group: a number, standardised over the training groups, or one of `categories` where
    there are any.
    """

    name: str
    categories: tuple[str, ...]
    mean: float
    std: float


@dataclass(frozen=True)
class SeriesGroup:
    """One source file: series that share a time axis.

    Rows are numbered from 0 in time order; rows that the source lacks (a gap in the dates) are there, as missing
    values. `mean` and `std` are those of the training rows, one a column; `std` is 1 where a column is constant or
    never observed there.
    """

    name: str
    rows: int
    first_time: int | None  # Unix seconds of row 0, None without dates
    splits: dict[str, tuple[int, int]]  # split -> first row, row after the last
    mean: tuple[float, ...]
    std: tuple[float, ...]
    static: tuple[str, ...] = ()  # texts of the static columns


@dataclass(frozen=True)
class SeriesFacts(Facts):
    """The series of a forecasting dataset."""

    TASK: ClassVar[str] = "forecast"

    columns: tuple[str, ...]
    interval: Interval | None  # None without dates
    groups: tuple[SeriesGroup, ...]
    known: tuple[KnownColumn, ...] = ()
    static: tuple[StaticColumn, ...] = ()

    @property
    def split_names(self) -> set[str]:
        return {split for group in self.groups for split in group.splits}

    @property
    def needed_features(self) -> set[str]:
        return (
            {"group", "start", "values", "observed"}
            | ({"time"} if self.interval else set())
            | ({"known"} if self.known else set())
        )

    @property
    def fingerprint_parts(self) -> list[str]:
        return [f"static {group.static}" for group in self.groups] if self.static else []

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the known and of the static columns."""
        return (*(column.name for column in self.known), *(column.name for column in self.static))

    def check(self, manifest: Manifest) -> None:
        """Raises ValueError where statistics or rows of series do not fit their number or the size of the shards."""
        width = len(self.columns)
        if not width or (self.interval and (self.interval.count < 1 or self.interval.unit not in ("second", "month"))):
            raise ValueError("there are no columns, or no such interval")
        for group in self.groups:
            self._check_group(group)
        for name, split in manifest.splits.items():
            rows = sum(group.splits[name][1] - group.splits[name][0] for group in self.groups if name in group.splits)
            if rows * width > split.bytes:
                raise ValueError(f"{name} tells of more rows than its shards hold")

    def _check_group(self, group: SeriesGroup) -> None:
        width = len(self.columns)
        if len(group.static) != len(self.static):
            raise ValueError("a group has other static columns than the dataset")
        if (len(group.mean), len(group.std)) != (width, width) or min(group.std) <= 0:
            raise ValueError(f"the statistics of {group.name!r} do not fit")
        ends = [0, *(end for _, end in sorted(group.splits.values()))]
        if (
            sorted(ends) != ends
            or ends[-1] > group.rows
            or [first for first, _ in sorted(group.splits.values())] != ends[:-1]
        ):
            raise ValueError(f"the splits of {group.name!r} do not follow one another")

    def difference(self, other: Facts) -> str | None:
        if isinstance(other, SeriesFacts) and other.covariates != self.covariates:
            return "has other known or static columns than the model was trained with; prepare it with the same"
        return None

    def described(self) -> dict[str, str]:
        values = {
            "interval": describe(self.interval),
            "groups": f"{len(self.groups):,}",
            "columns": ", ".join(self.columns),
        }
        for split in (split for split in SPLITS if split in self.split_names):
            ranges = [group.splits[split] for group in self.groups if split in group.splits]
            values[split] = f"{sum(end - first for first, end in ranges):,} rows"
        return values


FACTS = SeriesFacts

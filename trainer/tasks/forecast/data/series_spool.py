"""Series that were read, as arrays on the disk: every task and process takes the rows that it needs from there.

A source is read as a whole, since its interval, its gaps and its statistics depend on all of its rows; so a process
holds one CSV file or array (or the records of a piece of TFDS) in memory, and never all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainer.storage.atomic_file import atomic_file
from trainer.tasks.forecast.data.csv_series import RawSeries
from trainer.tasks.forecast.data.intervals import Interval

BLOCK_VALUES = 1 << 20  # of which statistics are taken at once
ENDINGS = ("values", "times", "known")

Borders = dict[str, tuple[int, int]]  # split -> first row, row after the last
Statistics = tuple[list[float], list[float]]  # mean and standard deviation of each column


@dataclass(frozen=True)
class Group:
    """A group of series on the disk: rows `[offset, offset + rows)` of the arrays in `spool`."""

    name: str
    columns: tuple[str, ...]
    interval: Interval | None
    source: str  # for errors
    rows: int
    first_time: int | None
    splits: Borders
    statistics: Statistics | None  # of the training rows; None where there are none
    spool: str  # path of the arrays, without their endings
    offset: int
    known_columns: tuple[str, ...] = ()
    static: dict[str, str] = field(default_factory=dict)  # column -> its one text

    def known(self, first: int, end: int) -> np.ndarray | None:
        """float32 [end - first, known columns], NaN where missing; None where no column is known for the future."""
        if not self.known_columns:
            return None
        array = np.memmap(f"{self.spool}.known", np.float32, "r").reshape(-1, len(self.known_columns))
        return array[self.offset + first : self.offset + end]

    def values(self, first: int, end: int) -> np.ndarray:
        """float32 [end - first, columns], NaN where missing; read when it is used."""
        array = np.memmap(f"{self.spool}.values", np.float32, "r").reshape(-1, len(self.columns))
        return array[self.offset + first : self.offset + end]

    def times(self, first: int, end: int) -> np.ndarray | None:
        """int64 [end - first], Unix seconds; None without dates."""
        if self.first_time is None:
            return None
        return np.memmap(f"{self.spool}.times", np.int64, "r")[self.offset + first : self.offset + end]


def spool(path: str, placed: Sequence[tuple[RawSeries, Borders]]) -> list[dict[str, Any]]:
    """Writes series of equal width, with the borders of their splits, to arrays; gives what `unspool` reads, JSON.

    Raises:
      OSError: the file system refused.
    """
    contents: tuple[list[np.ndarray], ...] = (
        [series.values.astype(np.float32, copy=False) for series, _ in placed],
        [series.times.astype(np.int64, copy=False) for series, _ in placed if series.times is not None],
        [series.known.values for series, _ in placed if series.known is not None],
    )
    for ending, arrays in zip(ENDINGS, contents):
        with atomic_file(f"{path}.{ending}") as temporary, temporary.open("wb") as file:
            for array in arrays:
                file.write(np.ascontiguousarray(array).data)
    groups = []
    offset = 0
    for series, splits in placed:
        rows = len(series.values)
        statistics = standardisation([series.values[slice(*splits["train"])]]) if "train" in splits else None
        first_time = None if series.times is None else int(series.times[0])
        place = Path(path).name, offset
        known = series.known.columns if series.known is not None else ()
        group = Group(
            series.name,
            series.columns,
            series.interval,
            series.source,
            rows,
            first_time,
            splits,
            statistics,
            *place,
            known,
            dict(series.static),
        )
        groups.append(asdict(group))
        offset += rows
    return groups


def spooled_files(groups: list[dict[str, Any]]) -> list[str]:
    """The files that `spool` wrote, by what it gave."""
    return [f"{path}.{ending}" for path in sorted({group["spool"] for group in groups}) for ending in ENDINGS]


def unspool(directory: Path, described: dict[str, Any]) -> Group:
    """A group that `spool` gave, whose arrays are in `directory`."""
    values = dict(described)
    values["columns"], values["known_columns"] = tuple(values["columns"]), tuple(values["known_columns"])
    values["interval"] = values["interval"] and Interval(**values["interval"])
    values["splits"] = {split: (first, end) for split, (first, end) in values["splits"].items()}
    values["spool"] = str(directory / values["spool"])
    return Group(**values)


def standardisation(parts: Iterable[np.ndarray]) -> Statistics:
    """Population mean and standard deviation of the observed values of each column, over arrays [rows, columns], read
    twice.

    A column without observed values has mean 0; std is 1 where a column is constant or has no observed values.
    """
    blocks = [
        part[first : first + size] for part in parts for size in [_rows(part)] for first in range(0, len(part), size)
    ]
    columns = blocks[0].shape[1]
    counts, sums, squares = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    for block in blocks:
        observed = ~np.isnan(block)
        counts += observed.sum(axis=0)
        sums += np.where(observed, block, 0.0).sum(axis=0, dtype=np.float64)
    mean = sums / np.maximum(counts, 1)
    for block in blocks:
        squares += (np.where(np.isnan(block), 0.0, block.astype(np.float64) - mean) ** 2).sum(axis=0)
    std = np.sqrt(squares / np.maximum(counts, 1))
    # Exactly 0 for a constant column: sums of float32 values are exact in float64 up to half a billion rows.
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def _rows(part: np.ndarray) -> int:
    return max(1, BLOCK_VALUES // part.shape[1])

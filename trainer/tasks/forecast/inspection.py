"""The contents of a dataset of series, from its records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.dataset.schema import Manifest
from trainer.tasks import inspection
from trainer.tasks.forecast.data import intervals
from trainer.tasks.forecast.facts import SeriesFacts


def inspect(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    """Reads every record of a dataset.

    Args:
      data_dir: the dataset's directory.
      manifest: what its dataset.json tells.
      examples: decoded examples of each split: rows of the first group.

    Returns:
      `splits`: split -> sizes and lengths; `examples`: split -> the first ones; `series`: statistics of each.

    Raises:
      DataError: a shard or vocabulary is missing or damaged, or holds something else than dataset.json tells.
    """
    facts = SeriesFacts.of(manifest)
    shape = (len(facts.groups), len(facts.columns))
    low, high, observed = np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape, np.int64)
    splits, shown = {}, {}
    for split in manifest.splits:
        rows = np.zeros(shape[0], np.int64)
        seen = np.zeros((), np.int64)
        first: list[dict[str, Any]] = []

        def read(
            record: inspection.Record,
            rows: np.ndarray = rows,
            seen: np.ndarray = seen,
            first: list[dict[str, Any]] = first,
            split: str = split,
        ) -> None:
            group, values, there = _checked(record, facts, manifest, split, rows)
            low[group] = np.minimum(low[group], np.where(there, values, np.inf).min(axis=0, initial=np.inf))
            high[group] = np.maximum(high[group], np.where(there, values, -np.inf).max(axis=0, initial=-np.inf))
            observed[group] += there.sum(axis=0)
            rows[group] += len(values)
            seen[...] += there.sum()
            first.extend(_rows(record, facts, manifest, values, there, examples - len(first)))

        inspection.read_split(data_dir, manifest, split, read)
        ranges = [group.splits[split] for group in facts.groups if split in group.splits]
        inspection.check_total(data_dir, split, int(rows.sum()), sum(end - start for start, end in ranges), "rows")
        splits[split] = {
            **inspection.files(manifest, split), "groups": len(ranges), "rows": int(rows.sum()),
            "missing_rate": 1 - int(seen) / max(int(rows.sum()) * shape[1], 1),
            "rows_a_group": inspection.distribution(np.array([end - start for start, end in ranges])),
        }  # fmt: skip
        shown[split] = first
    series = [
        _series(facts, group, column, low, high, observed) for group in range(shape[0]) for column in range(shape[1])
    ]
    return {"splits": splits, "interval": intervals.describe(facts.interval), "series": series, "examples": shown}


def _checked(
    record: inspection.Record, facts: SeriesFacts, manifest: Manifest, split: str, rows: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """The group, values and where they are observed, `[N, D]` each, of the record behind so many `rows` of each group.

    Raises:
      ValueError: it is not the one that should be there.
    """
    group: int = record["group"][0]
    columns = len(facts.columns)
    values, observed = (
        inspection.array(record, name, manifest).reshape(-1, columns) for name in ("values", "observed")
    )
    if not 0 <= group < len(facts.groups) or values.shape != observed.shape:
        raise ValueError("its group or its shape is none of the dataset's")
    expected = facts.groups[group].splits[split][0] + int(rows[group])
    if record["start"][0] != expected:
        raise ValueError(f"it begins with row {record['start'][0]} where row {expected} should be")
    there = observed.astype(bool)
    if not np.isfinite(values[there]).all():
        raise ValueError("a value that is marked as observed is not a finite number")
    return group, values, there


def _series(
    facts: SeriesFacts, group: int, column: int, low: np.ndarray, high: np.ndarray, observed: np.ndarray
) -> dict[str, Any]:
    """One series: mean and std are the training rows', the others those of all splits; None where nothing was
    observed.
    """
    described, some = facts.groups[group], bool(observed[group, column])
    return {
        "group": described.name, "column": facts.columns[column],
        "mean": described.mean[column], "std": described.std[column],
        "min": float(low[group, column]) if some else None, "max": float(high[group, column]) if some else None,
        "observed": int(observed[group, column]),
    }  # fmt: skip


def _rows(
    record: inspection.Record, facts: SeriesFacts, manifest: Manifest, values: np.ndarray, there: np.ndarray, count: int
) -> Iterator[inspection.Record]:
    """The first rows of a record, None where missing."""
    times = inspection.array(record, "time", manifest) if facts.interval else None
    for row in range(min(count, len(values))):
        place: inspection.Record = {"group": facts.groups[record["group"][0]].name, "row": record["start"][0] + row}
        if times is not None:
            place["time"] = intervals.format_time(int(times[row]))
        cells = (float(value) if known else None for value, known in zip(values[row], there[row]))
        yield {**place, "values": dict(zip(facts.columns, cells))}

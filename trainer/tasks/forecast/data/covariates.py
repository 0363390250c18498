"""Covariates, known beside the values of the series: columns that are known for the future too, and what stays the same
in a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainer.errors import DataError
from trainer.tasks.forecast.data.series_spool import Group
from trainer.tasks.forecast.facts import KnownColumn, SeriesFacts, StaticColumn


def describe_known(groups: Sequence[Group]) -> tuple[KnownColumn, ...]:
    """The known columns, standardised by the training rows of all groups together, so that a number means the same in
    each.

    Raises:
      DataError: a known column has no value in the training rows.
    """
    parts = [
        known
        for group in groups
        if "train" in group.splits and (known := group.known(*group.splits["train"])) is not None
    ]
    described = []
    for index, name in enumerate(groups[0].known_columns):
        values = np.concatenate([part[:, index] for part in parts]).astype(np.float64)
        values = values[~np.isnan(values)]
        if not len(values):
            raise DataError(
                f"the column {name} has no value in the training rows of any file; leave it out of --future_covariates"
            )
        described.append(KnownColumn(name, float(values.mean()), float(values.std()) or 1.0))
    return tuple(described)


def describe_static(groups: Sequence[Group]) -> tuple[StaticColumn, ...]:
    """The static columns, by the groups that have training rows: numbers where all their texts are finite numbers, else
    categories.

    Raises:
      DataError: a column has the same text in all files.
    """
    described = []
    for name in groups[0].static:
        texts = [group.static[name] for group in groups if "train" in group.splits]
        if len(set(texts)) == 1:
            reason = f"the column {name} is {texts[0]!r} in all training files"
            raise DataError(f"{reason}, which tells them not apart; leave it out of --static_covariates")
        numbers = [_number(text) for text in texts]
        if all(math.isfinite(number) for number in numbers):
            described.append(StaticColumn(name, (), float(np.mean(numbers)), float(np.std(numbers)) or 1.0))
        else:
            described.append(StaticColumn(name, tuple(sorted(set(texts))), 0.0, 1.0))
    return tuple(described)


def static_features(facts: SeriesFacts) -> np.ndarray:
    """`[G, J]` float32 of all groups: standardised numbers, and for a category one column each, 1 where it is the
    group's.

    A text that no training file has is 0 everywhere: of a category none, of a number the mean.
    """
    rows = []
    for group in facts.groups:
        row: list[float] = []
        for column, text in zip(facts.static, group.static):
            if column.categories:
                row += [float(text == category) for category in column.categories]
            else:
                number = _number(text)
                row.append((number - column.mean) / column.std if math.isfinite(number) else 0.0)
        rows.append(row)
    return np.asarray(rows, np.float32).reshape(len(facts.groups), -1)


def standardised(known: np.ndarray, facts: SeriesFacts) -> np.ndarray:
    """`known: [rows, K]` raw, NaN where missing -> float32, 0 (the mean) where missing."""
    mean, std = (np.array([getattr(column, name) for column in facts.known]) for name in ("mean", "std"))
    return np.nan_to_num((known - mean) / std).astype(np.float32)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

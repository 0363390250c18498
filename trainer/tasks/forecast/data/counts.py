"""Whether series are counts, as a distribution of counts needs them."""

from __future__ import annotations

import numpy as np

from trainer.dataset.schema import Manifest
from trainer.errors import DataError
from trainer.tasks.forecast.data.series_store import GroupSeries, series_names
from trainer.tasks.forecast.facts import SeriesFacts

_FLOAT32 = float(np.finfo(np.float32).eps)


def check_counts(manifest: Manifest, groups: list[GroupSeries]) -> None:
    """Raises DataError where an observed value is negative, fractional, or too large for float32 to tell from its
    neighbours.
    """
    names = iter(series_names(manifest))
    for facts, group in zip(SeriesFacts.of(manifest).groups, groups):
        mean, std = np.asarray(facts.mean), np.asarray(facts.std)
        raw = group.values.astype(np.float64) * std + mean
        # the values come back from their standardised float32, whose rounding is that of the distance from the mean
        noise = 4 * _FLOAT32 * np.abs(raw - mean) + 1e-3
        bad = group.observed & ((raw < -noise) | (np.abs(raw - np.round(raw)) > noise) | (noise > 0.25))
        for column, name in zip(range(raw.shape[1]), names):
            rows = np.flatnonzero(bad[:, column])
            if rows.size:
                value = raw[rows[0], column]
                reason = (
                    "is negative"
                    if value < -0.5
                    else "is too large for exact counts"
                    if noise[rows[0], column] > 0.25
                    else "is not a count"
                )
                raise DataError(
                    f"series {name} has {value:.6g} in row {rows[0] + 1}, which {reason}; --output=negative_binomial "
                    "is for counts "
                    "from 0 on: use --output=student_t or quantiles"
                )

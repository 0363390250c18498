"""Quantile forecasts that a model has to beat: the empirical quantiles of the last seven seasons (days of hourly data).

They look back farther than a model may: seven seasons before the window's first target, whatever its lookback.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.tasks.forecast.data.series_slices import SeriesSlice, window_starts
from trainer.tasks.forecast.model.ridge import carry_forward

SEASONS = 7


class RecentQuantiles:
    """Quantiles of recent values for the windows of a split, which are numbered from 0 in the order of the segments and
    of time.
    """

    def __init__(
        self, segments: Sequence[SeriesSlice], lookback: int, horizon: int, season: int, levels: Sequence[float]
    ):
        """Takes the segments that the windows are cut from and their shape, in steps; `season` is that of the calendar,
        in steps.
        """
        starts = [window_starts(segment, lookback, horizon) for segment in segments]
        self._segment = np.repeat(np.arange(len(segments)), [len(start) for start in starts])
        self._target = np.concatenate([np.arange(start.start, start.stop) for start in starts])
        self._rows = [self._history(segment, SEASONS * season) for segment in segments]
        self._season, self._horizon, self._levels = season, horizon, tuple(levels)

    @staticmethod
    def _history(segment: SeriesSlice, steps: int) -> np.ndarray:
        """`[steps + T, C]`: the values without gaps, behind `steps` times the first one, for windows near the
        beginning.
        """
        filled = carry_forward(segment.values[None], segment.observed[None])[0]
        return np.concatenate([np.repeat(filled[:1], steps, axis=0), filled])

    def batch(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles for the windows with these numbers `[B]` (the last window beyond the end), standardised.

        Returns:
          Of all recent steps alike, and of those at the same place of the season; both `[B, H, C, Q]`.
        """
        numbers = np.minimum(numbers, len(self._target) - 1)
        steps = SEASONS * self._season
        rows = np.stack(
            [
                self._rows[segment][target : target + steps]
                for segment, target in zip(self._segment[numbers], self._target[numbers])
            ]
        )  # [B, 7 * season, C]
        alike = np.moveaxis(np.quantile(rows, self._levels, axis=1), 0, -1)[:, None]  # [B, 1, C, Q]
        seasons = rows.reshape(len(numbers), SEASONS, self._season, -1)
        placed = np.moveaxis(np.quantile(seasons, self._levels, axis=1), 0, -1)  # [B, season, C, Q]
        return np.repeat(alike, self._horizon, axis=1), placed[:, np.arange(self._horizon) % self._season]

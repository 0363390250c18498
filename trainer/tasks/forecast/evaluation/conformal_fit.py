"""Measures how much the intervals of a forecaster have to grow: on a whole split, or on the windows that were over a
short time ago.

Every step of the horizon is calibrated by itself, on all series together: what one series did in the few weeks of a
split says little of its next weeks.

A whole split promises what it does only as far as the future is like it. `RecentConformal` looks at the last seven
seasons (days) that are over when a forecast is made, and follows drifts. Like every online method (Gibbs and Candès
2021) it is right on average over time, not for each forecast. `docs/decisions/measured_choices.md` has the figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from trainer.tasks.forecast.data.series_slices import SeriesSlice, window_starts
from trainer.tasks.forecast.evaluation.recent_quantiles import SEASONS
from trainer.tasks.forecast.evaluation.scoring import Prediction, forecast_windows
from trainer.tasks.forecast.model.conformal import Conformal, conformal_quantile, conformal_scores, grown
from trainer.tasks.forecast.model.predictor import moved
from trainer.tasks.forecast.model.quantile_levels import pairs

MOST_SCORES = 1 << 26  # held at once: 256 MiB; of more, every second window is taken, or third, ...


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredWindows:
    """Windows that have been forecast: when their targets end, and `scores [N, H, C, K]`, NaN where no target is
    observed.
    """

    ends: np.ndarray  # [N] int64, of `window_moments`
    scores: np.ndarray

    def growth(self, levels: tuple[float, ...]) -> np.ndarray:
        """`[H, K]`: what `Conformal` takes."""
        bounds = pairs(levels)
        growth = np.zeros((self.scores.shape[1], len(bounds)))
        for step, pair in np.ndindex(growth.shape):
            column = self.scores[:, step, :, pair]
            low, high = bounds[pair]
            growth[step, pair] = conformal_quantile(column[np.isfinite(column)], levels[high] - levels[low])
        return growth

    def over_before(self, moment: int, steps: int) -> ScoredWindows:
        """Those that end before a moment, at one of the last `steps` ends of which there are any."""
        ends = np.unique(self.ends[self.ends < moment])[-steps:]
        chosen = np.isin(self.ends, ends)
        return ScoredWindows(self.ends[chosen], self.scores[chosen])


def window_moments(segments: Sequence[SeriesSlice], lookback: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """When the targets of each window begin and end, `[N]` int64 each: Unix seconds, or rows where the data has no
    dates.
    """
    begins, ends = [], []
    for segment in segments:
        times = np.arange(len(segment.values)) if segment.times is None else segment.times
        targets = np.asarray(window_starts(segment, lookback, horizon), np.int64)
        begins.append(times[targets])
        ends.append(times[targets + horizon - 1])
    return np.concatenate(begins), np.concatenate(ends)


def scored_windows(
    predict: Callable[[Any], Prediction], batches: Iterable[Any], levels: tuple[float, ...], ends: np.ndarray
) -> ScoredWindows:
    """Scores all windows of a split, or evenly spaced ones where they are too many to hold.

    Args:
      predict: as `calibration.predictor` gives it.
      batches: as `WindowShape.signature` tells.
      levels: of the quantiles; some must have pairs.
      ends: [N] when the targets of each window end.
    """
    scores: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    first = every = 0
    for arrays, observed, forecast in forecast_windows(predict, batches):
        assert forecast.quantiles is not None
        every = every or -(-len(ends) * observed[0].size * len(pairs(levels)) // MOST_SCORES)
        conformal = conformal_scores(forecast.quantiles, arrays["target"], levels)  # [B, H, C, K]
        conformal[~observed] = np.nan
        windows = np.arange(first, min(first + len(conformal), len(ends)))
        windows = windows[windows % every == 0]
        scores.append(conformal[windows - first])
        numbers.append(windows)
        first += len(conformal)
    return ScoredWindows(ends[np.concatenate(numbers)], np.concatenate(scores))


def newest_conformal(scored: ScoredWindows, levels: tuple[float, ...], steps: int) -> Conformal:
    """The calibration of today: by the windows with the last `steps` ends."""
    return Conformal(levels, scored.over_before(int(scored.ends.max()) + 1, steps).growth(levels))


class RecentConformal:
    """Calibrates each window by those that were over before its first target; renewed once a season."""

    def __init__(self, scored: ScoredWindows, begins: np.ndarray, levels: tuple[float, ...], season: int):
        """Takes windows to calibrate by, and the moments at which the targets of those to calibrate begin (`[N]`, in
        order).
        """
        moments, place = np.unique(begins, return_inverse=True)
        self._renewal = place // season  # [N]
        self._growth = np.stack(
            [scored.over_before(moment, SEASONS * season).growth(levels) for moment in moments[::season]]
        )  # [U, H, K]

    def adjust(self, numbers: np.ndarray, prediction: Prediction) -> Prediction:
        """The forecast of the windows with these numbers `[B]`, calibrated; behind the last window, anything."""
        numbers = np.minimum(numbers, len(self._renewal) - 1)
        growth = self._growth[self._renewal[numbers]][:, :, None]  # [B, H, 1, K]
        quantiles, paths = (
            grown(prediction.quantiles, growth.astype(np.float32), prediction.levels).numpy(),
            prediction.paths,
        )
        if paths is not None:
            paths = moved(paths, prediction.quantiles, quantiles, prediction.levels).numpy()
        return dataclasses.replace(prediction, quantiles=quantiles, paths=paths)

"""Forecast errors, summed batch by batch: overall, per horizon step and per series.

Legend: B windows of a batch, H horizon steps, C channels, S series of the data set. Only observed targets are scored.
`mse` and `mae` are of standardised values, the published protocol (Zhou et al., Informer, AAAI 2021): the mean over all
observed targets, which without missing values is the mean over windows, steps and series. The others are in raw units
(raw = standardised * std + mean):

- `mae_raw`, `rmse`: over all observed targets, so series of a large unit weigh most.
- `nd` (normalised deviation): the sum of `|y - f|` over the sum of `|y|`.
- `mase` (Hyndman and Koehler 2006): `mae_raw` of a series over its mean absolute seasonal-naive error on the training
  rows, then the mean over the series that have such a scale.
- `smape`: `100 * mean(2 |y - f| / (|y| + |f|))` percent, 0 to 200 (Makridakis, M3 and M4); 0/0 counts as 0,
  where 0 is anything within float32 rounding of the series' mean.

Where a forecast has a mean and a median, squared errors are those of the mean and absolute ones those of the median, as
each is the forecast with the least of them.

A score that nothing defines (no observed target, no series with a scale) is None, never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.errors import DataError, TrainerError

Scores = dict[str, float | None]


@dataclass(frozen=True)
class _Sums:
    """Sums over scored targets, `[S]` or `[S, H]` float64; errors are standardised, `relative` is raw."""

    count: np.ndarray
    squared: np.ndarray
    absolute: np.ndarray
    relative: np.ndarray  # 2 |y - f| / (|y| + |f|)
    size: np.ndarray  # raw |y|

    @classmethod
    def zeros(cls, series: int, horizon: int) -> _Sums:
        return cls(*(np.zeros((series, horizon)) for _ in range(5)))

    def all_steps(self) -> _Sums:
        """`[S, H] -> [S]`."""
        return _Sums(*(part.sum(1) for part in self.parts))

    def at_step(self, step: int) -> _Sums:
        """`[S, H] -> [S]`."""
        return _Sums(*(part[:, step] for part in self.parts))

    def of_series(self, index: int) -> _Sums:
        """`[S] -> [1]`."""
        return _Sums(*(part[index : index + 1] for part in self.parts))

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        return self.count, self.squared, self.absolute, self.relative, self.size


class ForecastMetrics:
    """Accumulates forecast errors over batches; one object for each model or baseline."""

    def __init__(
        self,
        horizon: int,
        mean: np.ndarray,
        std: np.ndarray,
        mase_scale: np.ndarray,
        names: Sequence[str] | None = None,
    ):
        """Start with nothing scored.

        Args:
            horizon: H, steps.
            mean: `[S]` raw units, of each series of the data set.
            std: `[S]` raw units.
            mase_scale: `[S]` raw units, see `mase_scales`; 0 where undefined.
            names: `[S]` names for the results, if wanted.
        """
        self._mean, self._std, self._scale = (np.asarray(a, dtype=np.float64) for a in (mean, std, mase_scale))
        shapes = {
            self._mean.shape,
            self._std.shape,
            self._scale.shape,
            (len(names) if names is not None else self._mean.size,),
        }
        if len(shapes) != 1:
            raise ValueError(f"mean, std, mase_scale and names must be [S] for one S, got {sorted(shapes)}")
        if (
            not all(np.isfinite(a).all() for a in (self._mean, self._std, self._scale))
            or min(self._std.min(), self._scale.min()) < 0
        ):
            raise ValueError("mean, std and mase_scale must be finite, std and mase_scale not negative")
        self._names = list(names) if names is not None else None
        self._horizon = horizon
        self._sums = _Sums.zeros(self._mean.size, horizon)
        self._windows = np.zeros(self._mean.size, dtype=np.int64)
        self._rows_seen = 0

    def add(
        self,
        forecast: np.ndarray,
        target: np.ndarray,
        observed: np.ndarray,
        series: np.ndarray,
        median: np.ndarray | None = None,
    ) -> None:
        """Score one batch. A padded window counts for nothing if its `observed` is 0.

        Args:
            forecast: `[B, H, C]` standardised; must be finite everywhere.
            target: `[B, H, C]` standardised; not read where missing.
            observed: `[B, H, C]` bool or 0/1.
            series: `[B, C]` int, index of each channel's series, 0 to S - 1.
            median: `[B, H, C]` standardised, what absolute errors are taken of; the forecast itself if not given.

        Raises:
            TrainerError: the forecast has a NaN or an infinity; the text names window, step and series.
            DataError: a target marked as observed is NaN or infinite.
        """
        series = np.asarray(series)
        batch, _, channels = forecast.shape
        if (
            forecast.shape != (batch, self._horizon, channels)
            or target.shape != forecast.shape
            or observed.shape != forecast.shape
        ):
            raise ValueError(
                f"forecast {forecast.shape}, target {target.shape}, observed {observed.shape}: want [B, "
                f"{self._horizon}, C]"
            )
        if series.shape != (batch, channels):
            raise ValueError(f"series {series.shape}: want [B, C] = {(batch, channels)}")
        if series.size == 0:
            return
        if series.min() < 0 or series.max() >= self._mean.size:
            raise ValueError(f"series indices from {series.min()} to {series.max()} for {self._mean.size} series")
        present = np.asarray(observed, dtype=bool)
        median = forecast if median is None else median
        where = self._first(~(np.isfinite(forecast) & np.isfinite(median)), series)
        if where:
            raise TrainerError(
                f"the forecast is NaN or infinite at {where}; the model has diverged: train with a lower learning rate"
            )
        where = self._first(present & ~np.isfinite(target), series)
        if where:
            raise DataError(f"the target is NaN or infinite at {where} but marked as observed; prepare the data again")
        self._accumulate(forecast, median, target, present, series)
        self._rows_seen += batch

    def _first(self, bad: np.ndarray, series: np.ndarray) -> str:
        """Say where `bad [B, H, C]` is first true, in words; empty where it never is. Windows count from 0 over all
        batches.
        """
        if not bad.any():
            return ""
        row, step, channel = np.argwhere(bad)[0]
        index = int(series[row, channel])
        name = f" ({self._names[index]})" if self._names else ""
        return f"window {self._rows_seen + row}, horizon step {step + 1}, series {index}{name}"

    def _accumulate(
        self, mean_forecast: np.ndarray, median: np.ndarray, target: np.ndarray, present: np.ndarray, series: np.ndarray
    ) -> None:
        flat = series.reshape(-1)
        order = np.argsort(flat, kind="stable")
        which, begins = np.unique(flat[order], return_index=True)

        def rows(values: np.ndarray) -> np.ndarray:
            """`[B, H, C] -> [B * C, H]`, rows of one series side by side."""
            return values.transpose(0, 2, 1).reshape(-1, self._horizon)[order]

        scored = rows(present)
        y = np.where(scored, rows(target), 0).astype(np.float64)
        squared = (y - np.where(scored, rows(mean_forecast), 0)) ** 2
        f = np.where(scored, rows(median), 0).astype(np.float64)
        error = np.abs(y - f)
        mean, std = (a[flat[order]][:, None] for a in (self._mean, self._std))
        size = np.abs(y * std + mean) + np.abs(f * std + mean)
        # A raw 0 comes back from its standardised float32 as rounding noise of the mean's size; 0/0 must stay 0/0.
        context = 4 * np.finfo(np.float32).eps * np.abs(mean)
        relative = np.divide(2 * error * std, size, out=np.zeros_like(size), where=scored & (size > context))
        for total, part in (
            (self._sums.count, scored.astype(np.float64)),
            (self._sums.squared, squared),
            (self._sums.absolute, error),
            (self._sums.relative, relative),
            (self._sums.size, np.where(scored, np.abs(y * std + mean), 0)),
        ):
            total[which] += np.add.reduceat(part, begins, axis=0)
        self._windows[which] += np.add.reduceat(scored.any(axis=1).astype(np.int64), begins)

    def results(self) -> dict[str, Any]:
        """All scores, ready for JSON.

        Returns:
            `mse`, `mae`, `mae_raw`, `rmse`, `nd`, `mase`, `smape` overall; `targets` (values scored) and
            `series_windows` (windows with a scored target, one for each series); `per_step`: each score's list over the
            H steps; `per_series`: a list over the S series, each with `series` (index), `name` (if names were given),
            `windows`, `targets` and the scores.

        Raises:
            DataError: no target was scored.
        """
        over_steps = self._sums.all_steps()
        if not over_steps.count.any():
            raise DataError("no window has an observed target to score; choose another --split or a shorter --horizon")
        steps = [_scores(self._sums.at_step(step), self._std, self._scale) for step in range(self._horizon)]
        return {
            **_scores(over_steps, self._std, self._scale),
            "targets": int(over_steps.count.sum()),
            "series_windows": int(self._windows.sum()),
            "per_step": {name: [step[name] for step in steps] for name in steps[0]},
            "per_series": [self._one_series(index, over_steps) for index in range(self._mean.size)],
        }

    def _one_series(self, index: int, sums: _Sums) -> dict[str, Any]:
        one, sums_here = slice(index, index + 1), sums.of_series(index)
        return {
            "series": index,
            **({"name": self._names[index]} if self._names else {}),
            "windows": int(self._windows[index]),
            "targets": int(sums.count[index]),
            **_scores(sums_here, self._std[one], self._scale[one]),
        }


def _scores(sums: _Sums, std: np.ndarray, scale: np.ndarray) -> Scores:
    """Scores over some series, from sums `[S]`."""
    targets = sums.count.sum()
    if targets == 0:
        return dict.fromkeys(("mse", "mae", "mae_raw", "rmse", "nd", "mase", "smape"))
    absolute_raw = sums.absolute * std
    scaled = (scale > 0) & (sums.count > 0)
    return {
        "mse": float(sums.squared.sum() / targets),
        "mae": float(sums.absolute.sum() / targets),
        "mae_raw": float(absolute_raw.sum() / targets),
        "rmse": float(np.sqrt((sums.squared * std**2).sum() / targets)),
        "nd": float(absolute_raw.sum() / sums.size.sum()) if sums.size.any() else None,
        "mase": float(np.mean(absolute_raw[scaled] / sums.count[scaled] / scale[scaled])) if scaled.any() else None,
        "smape": float(100 * sums.relative.sum() / targets),
    }


def mase_scales(values: np.ndarray, observed: np.ndarray, season: int) -> np.ndarray:
    """Mean absolute seasonal-naive error of each channel, the unit of MASE.

    Args:
        values: `[T, C]` raw units, the training rows; not read where missing.
        observed: `[T, C]` bool or 0/1.
        season: steps of a season (1: differences of neighbours).

    Returns:
        `[C]` float64, raw units: mean of `|v[t] - v[t - season]|` over the rows where both are observed; 0 (undefined)
        where there are none, and for a series that repeats itself exactly.
    """
    if season < 1:
        raise ValueError(f"season {season} must be at least 1")
    present = np.asarray(observed, dtype=bool)
    clean = np.where(present, values, 0).astype(np.float64)
    if not np.isfinite(clean).all():
        raise DataError("a training value is NaN or infinite but marked as observed; prepare the data again")
    both = present[season:] & present[:-season]
    pairs = both.sum(axis=0)
    error = (np.abs(clean[season:] - clean[:-season]) * both).sum(axis=0)
    return np.divide(error, pairs, out=np.zeros(clean.shape[1]), where=pairs > 0)

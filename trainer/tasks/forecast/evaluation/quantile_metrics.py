"""Scores of forecast quantiles, summed batch by batch: overall, per horizon step, per series, per level and per
interval.

Legend: B windows of a batch, H horizon steps, C channels, Q levels, K intervals, S series. Only observed targets are
scored.

- `weighted_quantile_loss`: twice the pinball loss over the sum of `|y|`, in raw units, and its mean over the levels
  (Salinas et al. 2020). Of a point forecast with levels that lie evenly around the median it is the normalised
  deviation.
- `crps`: the continuous ranked probability score in standardised units, as the integral over all levels of twice the
  pinball loss (Gneiting and Ranjan 2011), each level standing for those nearest to it. Of a point forecast it is the
  mean absolute error.
- `coverage_80`, for every pair of levels `a` and `1 - a`: percent of the targets between the two quantiles, both
  included.

A score that nothing defines is None, never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.errors import TrainerError
from trainer.tasks.forecast.model.quantile_levels import cell_weights, pairs


class QuantileMetrics:
    """Accumulates the scores of one model or baseline over batches."""

    def __init__(self, levels: Sequence[float], horizon: int, mean: np.ndarray, std: np.ndarray, names: Sequence[str]):
        """Starts with nothing scored; `mean`, `std` and `names` are `[S]`, raw units."""
        self._levels, self._pairs = np.asarray(levels, np.float64), pairs(levels)
        self._mean, self._std, self._names = np.asarray(mean, np.float64), np.asarray(std, np.float64), list(names)
        series, count = len(self._names), len(self._pairs)
        self._targets = np.zeros((series, horizon))
        self._size = np.zeros((series, horizon))  # raw |y|
        self._loss = np.zeros((series, horizon, len(levels)))  # twice the pinball loss, standardised
        self._below = np.zeros((series, horizon, len(levels)))  # targets up to the quantile
        self._inside = np.zeros((series, horizon, count))  # targets in the interval
        self._width = np.zeros((series, horizon, count))  # of the interval, standardised

    def add(self, quantiles: np.ndarray, target: np.ndarray, observed: np.ndarray, series: np.ndarray) -> None:
        """Scores a batch.

        Args:
          quantiles: [B, H, C, Q] standardised, not falling along Q.
          target: [B, H, C] standardised; not read where missing.
          observed: [B, H, C] bool; false everywhere in a window that only fills the batch up.
          series: [B, C] index of each channel's series.

        Raises:
          TrainerError: a quantile is not a number, or two of them cross.
        """
        if not np.isfinite(quantiles).all():
            raise TrainerError(
                "a forecast quantile is NaN or infinite; the model has diverged: train with a lower learning rate"
            )
        if (np.diff(quantiles, axis=-1) < 0).any():
            raise TrainerError("two forecast quantiles cross; this is a defect of the model's output")
        flat = series.reshape(-1)
        order = np.argsort(flat, kind="stable")
        which, begins = np.unique(flat[order], return_index=True)

        def rows(values: np.ndarray) -> np.ndarray:
            """`[B, H, C, ...] -> [B * C, H, ...]`, rows of one series side by side."""
            return np.moveaxis(values, 2, 1).reshape(-1, *values.shape[1:2], *values.shape[3:])[order]

        scored = rows(observed)
        y = np.where(scored, rows(target), 0.0).astype(np.float64)[..., None]
        q = rows(quantiles).astype(np.float64)
        weight = scored[..., None].astype(np.float64)
        error = y - q
        low, high = [pair[0] for pair in self._pairs], [pair[1] for pair in self._pairs]
        raw = np.abs(y[..., 0] * self._std[flat[order]][:, None] + self._mean[flat[order]][:, None])
        for total, part in (
            (self._targets, weight[..., 0]),
            (self._size, raw * weight[..., 0]),
            (self._loss, 2 * np.maximum(self._levels * error, (self._levels - 1) * error) * weight),
            (self._below, (error <= 0) * weight),
            (self._inside, ((error[..., low] >= 0) & (error[..., high] <= 0)) * weight),
            (self._width, (q[..., high] - q[..., low]) * weight),
        ):
            total[which] += np.add.reduceat(part, begins, axis=0)

    def results(self) -> dict[str, Any]:
        """All scores, ready for JSON.

        Returns:
          The scores of the module's text overall; `quantiles_per_step`: each one's list over the H steps;
          `quantiles_per_series`: a list over the series; `levels`: of each one its weighted quantile loss and the share
          of targets up to the quantile; `intervals`: of each one its probability, its coverage (a share), and its mean
          width in standardised units.
        """
        horizon, targets = self._targets.shape[1], max(1.0, self._targets.sum())
        every = slice(None)
        steps = [self._scores(every, slice(step, step + 1)) for step in range(horizon)]
        raw_loss, size = (self._loss * self._std[:, None, None]).sum((0, 1)), self._size.sum()
        return {
            **self.overall(),
            "quantiles_per_step": {name: [step[name] for step in steps] for name in steps[0]},
            "quantiles_per_series": [
                {"series": index, "name": name, **self._scores(slice(index, index + 1), every)}
                for index, name in enumerate(self._names)
            ],
            "levels": [
                {
                    "level": float(level),
                    "below": float(self._below[..., index].sum() / targets),
                    "weighted_quantile_loss": float(raw_loss[index] / size) if size else None,
                }
                for index, level in enumerate(self._levels)
            ],
            "intervals": [
                {
                    "probability": float(self._levels[high] - self._levels[low]),
                    "coverage": float(self._inside[..., index].sum() / targets),
                    "width": float(self._width[..., index].sum() / targets),
                }
                for index, (low, high) in enumerate(self._pairs)
            ],
        }

    def overall(self) -> dict[str, float | None]:
        """The scores of the module's text, of all that was added."""
        return self._scores(slice(None), slice(None))

    def _scores(self, series: slice, steps: slice) -> dict[str, float | None]:
        targets, size = self._targets[series, steps].sum(), self._size[series, steps].sum()
        loss = self._loss[series, steps]
        raw = (loss.mean(-1) * self._std[series, None]).sum()
        weights = cell_weights(self._levels.tolist())
        inside = self._inside[series, steps].sum((0, 1))
        return {
            "weighted_quantile_loss": float(raw / size) if size else None,
            "crps": float((loss @ weights).sum() / targets) if targets else None,
            **{
                f"coverage_{100 * (self._levels[high] - self._levels[low]):.3g}": float(100 * count / targets)
                if targets
                else None
                for (low, high), count in zip(self._pairs, inside)
            },
        }

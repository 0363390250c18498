"""Measures on a split how much the intervals of a forecaster have to grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from trainer.evaluation.forecast_evaluation import Prediction, forecast_windows
from trainer.models.conformal import Conformal, conformal_quantile, conformal_scores
from trainer.models.levels import pairs

MOST_SCORES = 1 << 26  # held at once: 256 MiB; of more, every second window is taken, or third, ...


def fit_conformal(predict: Callable[[Any], Prediction], batches: Iterable[Any], levels: tuple[float, ...], windows: int) -> Conformal:
    """Calibrates every step of the horizon by itself, on all series together, with windows that the model was not trained on.

    TODO

    Args:
      predict: as `ForecastTask.predictor` gives it.
      batches: as `WindowShape.signature` tells.
      levels: of the quantiles; some must have pairs.
      windows: how many there are in all batches.
    """
    bounds = pairs(levels)
    every: int | None = None
    found = []
    for arrays, observed, forecast in forecast_windows(predict, batches):
        assert forecast.quantiles is not None
        if every is None:
            every = -(-windows * observed[0].size * len(bounds) // MOST_SCORES)
        scores = conformal_scores(forecast.quantiles, arrays["target"], levels)  # [B, H, C, K]
        scores[~observed] = np.nan
        found.append(np.moveaxis(scores[::every], 2, 1))
    scores = np.concatenate(found).reshape(-1, found[0].shape[2], len(bounds))  # [N, H, K]
    growth = np.zeros(scores.shape[1:])
    for step, pair in np.ndindex(growth.shape):
        column = scores[:, step, pair]
        low, high = bounds[pair]
        growth[step, pair] = conformal_quantile(column[np.isfinite(column)], levels[high] - levels[low])
    return Conformal(levels, growth)

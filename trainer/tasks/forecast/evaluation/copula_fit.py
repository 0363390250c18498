"""Measures on forecast windows how the steps of a forecast hang together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from trainer.tasks.forecast.evaluation.conformal_fit import MOST_SCORES
from trainer.tasks.forecast.evaluation.scoring import Prediction, forecast_windows
from trainer.tasks.forecast.model.copula import Copula, dependence_of
from trainer.tasks.forecast.model.distributions import scores_of


def fitted_copula(predict: Callable[[Any], Prediction], batches: Iterable[Any], count: int) -> Copula:
    """The copula of all series together, from the windows of a split, or from evenly spaced ones where they are too
    many to hold.

    Args:
      predict: as `calibration.predictor` gives it, with quantiles.
      batches: as `WindowShape.signature` tells; the last may be filled up with windows of target weight 0.
      count: windows in them.
    """
    rows: list[np.ndarray] = []
    first = every = 0
    for arrays, observed, forecast in forecast_windows(predict, batches):
        assert forecast.quantiles is not None
        every = every or -(-count * observed[0].size // MOST_SCORES)
        chosen = (first + np.arange(len(observed))) % every == 0
        scores = scores_of(forecast.quantiles[chosen], forecast.levels, arrays["target"][chosen]).numpy()  # [B', H, C]
        scores[~observed[chosen]] = np.nan
        rows.append(np.moveaxis(scores, 2, 1).reshape(-1, scores.shape[1]))
        first += len(observed)
    return dependence_of(np.concatenate(rows))

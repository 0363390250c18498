"""Conformal calibration: intervals moved so that they cover as many values as they promise, measured on data not
trained on.

Conformalised quantile regression (Romano, Patterson and Candès 2019): how far a value lies outside its interval
(negative inside) is a score, and the interval grows by the score's own quantile. Scores are taken in units of the
interval's width (CQR-r, Sesia and Candès 2020), so that a forecast which knows where it is unsure keeps that knowledge,
and that few series of a large scale do not decide for all.

Legend: N windows, B windows of a batch, H horizon steps, C channels, Q levels, K pairs of levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.tasks.forecast.model.quantile_levels import MEDIAN, pairs

LEAST_WIDTH = 1e-3  # in standardised units: an interval without width has no unit to measure by


@dataclass(frozen=True, eq=False)
class Conformal:
    """How much each interval grows on either side, as a share of its width: `growth [H, K]`, below 0 where it
    shrinks.
    """

    levels: tuple[float, ...]
    growth: np.ndarray

    def apply(self, quantiles: tf.Tensor) -> tf.Tensor:
        """Calibrated quantiles of a batch: `[B, H, C, Q]`, in and out."""
        return grown(quantiles, tf.constant(self.growth[:, None], tf.float32), self.levels)


def grown(quantiles: tf.Tensor, growth: tf.Tensor, levels: Sequence[float]) -> tf.Tensor:
    """Quantiles `[B, H, C, Q]` whose intervals have grown by `growth` (`[H, 1, K]` or `[B, H, 1, K]`), still not
    falling along Q.

    The median stays as it is, and so do levels without a pair unless an interval reaches over them.
    """
    columns = tf.unstack(tf.convert_to_tensor(quantiles), axis=-1)
    for pair, (low, high) in enumerate(pairs(levels)):
        extra = growth[..., pair] * tf.maximum(quantiles[..., high] - quantiles[..., low], LEAST_WIDTH)
        columns[low], columns[high] = quantiles[..., low] - extra, quantiles[..., high] + extra
    middle = list(levels).index(MEDIAN)
    for index in range(middle + 1, len(columns)):  # intervals stay nested, from the median outwards
        columns[index] = tf.maximum(columns[index], columns[index - 1])
    for index in reversed(range(middle)):
        columns[index] = tf.minimum(columns[index], columns[index + 1])
    return tf.stack(columns, axis=-1)


def conformal_scores(quantiles: np.ndarray, target: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """How far targets lie outside each interval, in units of its width: `[..., Q]` and `[...]` -> `[..., K]`
    float32.
    """
    scores = []
    for low, high in pairs(levels):
        width = np.maximum(quantiles[..., high] - quantiles[..., low], LEAST_WIDTH)
        scores.append(np.maximum(quantiles[..., low] - target, target - quantiles[..., high]) / width)
    return np.stack(scores, axis=-1).astype(np.float32)


def conformal_quantile(scores: np.ndarray, probability: float) -> float:
    """The score that the next one of their kind stays below with this probability: of n scores, the `ceil((n + 1)
    probability)`-th.

    The largest one where even that is too few. Without any score, 0: nothing is known against the interval.
    """
    if not scores.size:
        return 0.0
    rank = min(scores.size, int(np.ceil((scores.size + 1) * probability - 1e-9)))
    return float(np.partition(scores, rank - 1)[rank - 1])

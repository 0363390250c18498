"""How the steps of a forecast hang together: a Gaussian copula over the horizon (Pinson, Madsen et al. 2009, Wind
Energy 12).

Forecasts of each step tell nothing of whether a high value is followed by high ones. What does is the past: where in
its forecast each value of a window really was, as normal scores, and the correlation of these over the steps. Scores
that are drawn with this correlation give every step the distribution that was forecast for it, and sums over steps the
spread that they really have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

LEAST_EIGENVALUE = (
    1e-6  # correlations of few windows have none left in some directions, of pairs with gaps even negative ones
)


@dataclass(frozen=True, eq=False)
class Copula:
    """`factor [H, H]`, whose product with its transpose is the correlation of the steps' scores; its rows have norm
    1.
    """

    factor: np.ndarray

    def correlated(self, scores: tf.Tensor) -> tf.Tensor:
        """Normal scores `[..., H, C]` that are independent of each other -> those that hang together over the steps."""
        return tf.einsum("hk,...kc->...hc", tf.constant(self.factor, tf.float32), scores)


def dependence_of(scores: np.ndarray) -> Copula:
    """The copula of past windows.

    Args:
      scores: [W, H], where in the forecast of its step each value was (any measure that rises with the value); NaN
        where none is known. Only their ranks among those of the same step count, so a forecast that was off or too
        narrow all the time does no harm.
    """
    ranked = np.stack([_normal_ranks(column) for column in np.asarray(scores, np.float64).T], axis=1)  # [W, H]
    known = np.isfinite(ranked)
    ranked = np.where(known, ranked, 0.0)
    together = np.maximum(known.T.astype(np.float64) @ known, 1.0)
    products = ranked.T @ ranked / together  # [H, H]
    deviation = np.sqrt(np.maximum(np.diag(products), LEAST_EIGENVALUE))
    correlation = products / deviation / deviation[:, None]
    np.fill_diagonal(correlation, 1.0)  # of a step without two values too: it goes with none
    values, vectors = np.linalg.eigh(correlation)
    factor = vectors * np.sqrt(np.maximum(values, LEAST_EIGENVALUE))
    return Copula(factor / np.linalg.norm(factor, axis=1, keepdims=True))


def _normal_ranks(column: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks of `column [W]`, NaN where it is; equal values share the middle of their ranks."""
    known = np.isfinite(column)
    ordered = np.sort(column[known])
    places = np.searchsorted(ordered, column[known], "left") + np.searchsorted(ordered, column[known], "right")
    ranks = np.full(column.shape, np.nan)
    if len(ordered):
        ranks[known] = tf.math.ndtri(tf.constant(places / (2 * len(ordered)), tf.float64)).numpy()
    return ranks

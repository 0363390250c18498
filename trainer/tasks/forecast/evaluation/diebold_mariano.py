"""Is one forecaster really better than another, or were the windows kind to it? The test of Diebold and Mariano (1995).

With the small-sample correction of Harvey, Leybourne and Newbold (1997), and the variance of a mean of differences that
are correlated as far as forecast windows overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """The result of the test on two rows of losses.

    Attributes:
      mean_difference: own loss less the other's; below 0 is better.
      origins: pairs of losses compared, N.
      lags: autocovariances in the variance.
      kernel: `rectangular` as in the papers, or `bartlett` (Newey and West 1987) where that variance is not above 0;
        None without a test.
      statistic: corrected, of Student's t with N - 1 degrees of freedom under equal losses; None without a test.
      p_value: two-sided; None where no test can be made.
      verdict: `better` or `worse` at the level `SIGNIFICANCE`, else `no difference shown`, or why there is no test.
    """

    mean_difference: float
    origins: int
    lags: int
    kernel: str | None
    statistic: float | None
    p_value: float | None
    verdict: str


def diebold_mariano(losses: np.ndarray, other: np.ndarray, steps: int) -> Comparison:
    """Compares losses of two forecasters on the same windows.

    Args:
      losses: `[N]` losses in the order of time, finite.
      other: `[N]`, of the other forecaster.
      steps: how many windows in a row overlap, 1 where none do; the differences of `steps - 1` neighbours are taken as
        correlated.
    """
    difference = np.asarray(losses, np.float64) - np.asarray(other, np.float64)
    if difference.ndim != 1 or not np.isfinite(difference).all() or steps < 1:
        raise ValueError(f"losses of shape {difference.shape} must be finite and [N], steps {steps} at least 1")
    count, mean = len(difference), float(difference.mean()) if len(difference) else 0.0

    def no_test(why: str) -> Comparison:
        return Comparison(mean, count, steps - 1, None, None, None, why)

    if count < max(steps + 1, 3):
        return no_test(f"too few windows: the test needs {max(steps + 1, 3)}")
    kernel, variance = "rectangular", _variance(difference, np.ones(steps - 1))
    if variance <= 0:
        kernel, variance = "bartlett", _variance(difference, 1 - np.arange(1, steps) / steps)
    if variance <= 1e-24 * float(np.abs(losses).max() + np.abs(other).max()) ** 2:
        return no_test("the differences do not vary")
    correction = (count + 1 - 2 * steps + steps * (steps - 1) / count) / count
    statistic = mean / np.sqrt(variance / count) * np.sqrt(correction)
    p_value = two_sided(float(statistic), count - 1)
    verdict = "no difference shown"
    if p_value < SIGNIFICANCE:
        verdict = "better" if mean < 0 else "worse"
    return Comparison(mean, count, steps - 1, kernel, float(statistic), p_value, verdict)


def _variance(difference: np.ndarray, weights: np.ndarray) -> float:
    """Long-run variance of `[N]` differences: their variance and twice the weighted autocovariances of the first
    `len(weights)` lags.
    """
    centred = difference - difference.mean()
    lags = [float(centred[lag:] @ centred[: len(centred) - lag]) / len(centred) for lag in range(len(weights) + 1)]
    return lags[0] + 2 * float(weights @ np.array(lags[1:])) if len(weights) else lags[0]


def two_sided(statistic: float, degrees: int) -> float:
    """Probability that Student's t with so many degrees of freedom is at least as far from 0."""
    share = degrees / (degrees + statistic**2)
    half = tf.constant(0.5, tf.float64)
    return float(tf.math.betainc(tf.constant(degrees / 2, tf.float64), half, tf.constant(share, tf.float64)))

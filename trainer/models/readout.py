"""What a forecaster's numbers say: mean, median and quantiles of each value, and draws of it."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from trainer.models.conformal import Conformal
from trainer.models.distributions import Distribution, draw_between
from trainer.models.levels import MEDIAN
from trainer.models.noise import ALGORITHM


@dataclass(frozen=True)
class Readout:
    """One way to read the numbers that a `Forecaster` gives: `[B, H, C]` of a point forecast, else `[B, H, C, P]`; all standardised."""

    distribution: Distribution | None  # None: a point forecast
    conformal: Conformal | None = None  # moves the quantiles, and leaves mean and median

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the quantiles; none of a point forecast."""
        return () if self.distribution is None else self.distribution.levels

    def forecast(self, numbers: tf.Tensor, series: tf.Tensor) -> dict[str, tf.Tensor]:
        """`mean` and `median`, `[B, H, C]`, and `quantiles [B, H, C, Q]` where there are any; `series` is `[B, C]`."""
        if self.distribution is None:
            return {"mean": numbers, "median": numbers}
        quantiles = self._quantiles(numbers, series)
        median = quantiles[..., self.levels.index(MEDIAN)]
        return {"mean": self.distribution.mean(numbers, series), "median": median, "quantiles": quantiles}

    def draw(self, numbers: tf.Tensor, series: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`count` sample paths of each window, `[N, B, H, C]`, a function of `seed` (int64 scalar).

        Each value follows its forecast; a calibrated one is that of its quantiles, linear between them. Steps and channels are drawn
        independently of each other, so sums over a path vary less than sums of the series do.
        """
        assert self.distribution is not None
        shape = tf.concat([[count], tf.shape(numbers)[:-1]], axis=0)
        key = tf.bitcast(seed, tf.int32)  # [2]
        scores = tf.random.stateless_normal(shape, key, alg=ALGORITHM)
        if self.conformal is not None:
            return draw_between(self._quantiles(numbers, series), self.levels, scores)
        return self.distribution.draw(numbers, series, scores, key + 1)

    def _quantiles(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        assert self.distribution is not None
        quantiles = self.distribution.quantiles(numbers, series)
        return quantiles if self.conformal is None else self.conformal.apply(quantiles)

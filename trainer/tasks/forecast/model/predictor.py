"""Forecasts of each window: mean, median and quantiles of each value, and sample paths.

Legend: B windows, H horizon steps, C channels, N paths, Q levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.nn.step_context import ALGORITHM
from trainer.tasks.forecast.model.conformal import Conformal
from trainer.tasks.forecast.model.copula import Copula
from trainer.tasks.forecast.model.distributions import Distribution, scores_of, values_at
from trainer.tasks.forecast.model.quantile_levels import MEDIAN, normal_scores

PATHS = (
    100  # that an autoregressive decoder's quantiles are taken from, as many as DeepAR's usual (Salinas et al. 2020)
)


@dataclass(frozen=True)
class ForecastGenerator:
    """One way to read a `Forecaster`; all values are standardised, a batch is as `WindowShape.signature` tells.

    A parallel decoder gives each value's distribution at once; its paths hang together as `copula` says, or each step
    is drawn by itself. With `ancestral` the model writes paths, value after value, each from those before it: what is
    forecast is what `PATHS` paths show.
    """

    distribution: Distribution | None  # None: a point forecast
    ancestral: bool = False
    conformal: Conformal | None = None  # moves quantiles and paths, and leaves mean and median
    copula: Copula | None = None

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the quantiles; none of a point forecast."""
        return () if self.distribution is None else self.distribution.levels

    def computed(self, model: Any, batch: Mapping[str, tf.Tensor]) -> Any:
        """A stand-in for the model where several things are read of one batch, so that its numbers are computed
        once.
        """
        if self.ancestral:
            return model
        numbers = model(batch)
        return lambda _: numbers

    def forecast(self, model: Any, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`mean` and `median`, `[B, H, C]`, and `quantiles [B, H, C, Q]` where there are any."""
        if self.distribution is None:
            numbers = model(batch)
            return {"mean": numbers, "median": numbers}
        mean, raw = self._raw(model, batch)
        quantiles = raw if self.conformal is None else self.conformal.apply(raw)
        return {"mean": mean, "median": quantiles[..., self.levels.index(MEDIAN)], "quantiles": quantiles}

    def draw(self, model: Any, batch: Mapping[str, tf.Tensor], count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`count` sample paths of each window, `[N, B, H, C]`, a function of `seed` (int64 scalar) and of the window's
        place.

        Each value follows its forecast, a calibrated one too. Channels are drawn independently of each other, but where
        an autoregressive decoder reads them together.
        """
        assert self.distribution is not None
        past, horizon = tf.shape(batch["past"]), batch["future_features"].shape[1]
        scores = tf.random.stateless_normal(
            [count, past[0], horizon, past[2]], tf.bitcast(seed, tf.int32), alg=ALGORITHM
        )
        if self.ancestral:
            paths = model.paths(batch, scores)
        else:
            model = self.computed(model, batch)
            scores = scores if self.copula is None else self.copula.correlated(scores)
            paths = self.distribution.at_scores(model(batch), batch["series"], scores)
        if self.conformal is None:
            return paths
        raw = self._raw(model, batch)[1]
        return moved(paths, raw, self.conformal.apply(raw), self.levels)

    def _raw(self, model: Any, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean `[B, H, C]` and the quantiles before calibration, `[B, H, C, Q]`."""
        assert self.distribution is not None
        if self.ancestral:
            paths = model.paths(batch, even_scores(PATHS, batch["future_features"].shape[1], batch["past"].shape[2]))
            return tf.reduce_mean(paths, axis=0), quantiles_of(paths, self.levels)
        numbers = model(batch)
        return self.distribution.mean(numbers, batch["series"]), self.distribution.quantiles(numbers, batch["series"])


def moved(paths: tf.Tensor, before: tf.Tensor, after: tf.Tensor, levels: tuple[float, ...]) -> tf.Tensor:
    """Paths `[N, B, H, C]` of forecasts with the quantiles `before [B, H, C, Q]`, as those with the quantiles `after`
    have them.
    """
    return values_at(after, levels, scores_of(before, levels, paths))


def even_scores(count: int, steps: int, channels: int) -> tf.Tensor:
    """`[N, 1, H, C]` normal scores that every step has all over its distribution, in another order each (McKay et al.
    1979).

    The same for all windows, so that a forecast depends on its window alone.
    """
    random = np.random.default_rng(0)
    every = normal_scores([(place + 0.5) / count for place in range(count)])
    return tf.constant(
        random.permuted(np.tile(every, (steps, channels, 1)), axis=-1).transpose(2, 0, 1)[:, None], tf.float32
    )


def quantiles_of(paths: tf.Tensor, levels: tuple[float, ...]) -> tf.Tensor:
    """Empirical quantiles `[B, H, C, Q]` of `paths [N, B, H, C]`, each at the middle of its share of the levels, linear
    between.
    """
    ordered, count = tf.sort(paths, axis=0), int(paths.shape[0])
    places = np.clip(np.asarray(levels) * count - 0.5, 0, count - 1)
    low = np.minimum(places.astype(int), max(count - 2, 0))
    part = (places - low).astype(np.float32)
    columns = [
        (1 - share) * ordered[index] + share * ordered[min(index + 1, count - 1)]
        for index, share in zip(low.tolist(), part)
    ]
    return tf.stack(columns, axis=-1)

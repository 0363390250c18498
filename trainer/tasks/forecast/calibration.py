"""Forecasts of a trained model, and how they are calibrated by the windows that lie before them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from trainer.tasks.forecast.evaluation.conformal_fit import (
    RecentConformal,
    ScoredWindows,
    newest_conformal,
    scored_windows,
    window_moments,
)
from trainer.tasks.forecast.evaluation.copula_fit import fitted_copula
from trainer.tasks.forecast.evaluation.recent_quantiles import SEASONS
from trainer.tasks.forecast.evaluation.scoring import Adjust, Prediction
from trainer.tasks.forecast.model.conformal import Conformal
from trainer.tasks.forecast.model.copula import Copula
from trainer.tasks.forecast.model.predictor import ForecastGenerator
from trainer.tasks.forecast.task_data import ForecastData
from trainer.tasks.task import Batch


def predictor(model: keras.Model, generator: ForecastGenerator, paths: int = 0) -> Callable[[Batch], Prediction]:
    """A function that forecasts a batch of windows, as `evaluation_batches` gives them, with so many paths; compiled
    once.
    """

    @tf.function(reduce_retracing=True)
    def run(batch: Batch) -> dict[str, tf.Tensor]:
        computed = generator.computed(model, batch)
        drawn = (
            {"paths": generator.draw(computed, batch, tf.constant(paths), tf.constant(0, tf.int64))} if paths else {}
        )
        return generator.forecast(computed, batch) | drawn

    return lambda batch: Prediction(
        levels=generator.levels, **{name: value.numpy() for name, value in run(batch).items()}
    )


class Calibration:
    """Calibrates the forecasts that `generator` makes of what `model` gives for the windows of `data`."""

    def __init__(self, data: ForecastData, model: keras.Model, generator: ForecastGenerator):
        self._data, self._model, self._generator = data, model, generator

    def scored(self, split: str) -> ScoredWindows:
        """How far the targets of a split lie outside the raw intervals; takes a pass over it."""
        data, shape = self._data, self._data.shape
        _, ends = window_moments(data.segments(split, data.multivariate), shape.lookback, shape.horizon)
        batches = data.evaluation_batches(split, data.evaluation_batch_size)
        return scored_windows(predictor(self._model, self._generator), batches, self._generator.levels, ends)

    def copula(self) -> Copula:
        """How steps hang together in the validation split; takes a pass over it."""
        batches = self._data.evaluation_batches("validation", self._data.evaluation_batch_size)
        count = self._data.windows("validation").count
        return fitted_copula(predictor(self._model, self._generator), batches, count)

    def of_split(self, how: str, split: str) -> tuple[ForecastGenerator, Adjust | None]:
        """How forecasts for the windows of a split are read and adjusted afterwards, with `--conformal` as `how`."""
        if how == "recent":
            return self._generator, self._recent(split).adjust
        return dataclasses.replace(self._generator, conformal=self.after_all_data(how)), None

    def after_all_data(self, how: str) -> Conformal | None:
        """The calibration of a forecast after all data, with `--conformal` as `how`."""
        if how == "none":
            return None
        levels = self._generator.levels
        if how == "validation":
            return Conformal(levels, self.scored("validation").growth(levels))
        newest = "test" if "test" in self._data.splits else "validation"
        return newest_conformal(self.scored(newest), levels, SEASONS * self._season_steps)

    def _recent(self, split: str) -> RecentConformal:
        """Calibration of a split's windows by those before them, in it and in the validation split."""
        data, shape = self._data, self._data.shape
        parts = [self.scored(name) for name in dict.fromkeys(["validation", split]) if name in data.splits]
        scored = ScoredWindows(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("ends", "scores"))
        )
        begins, _ = window_moments(data.segments(split, data.multivariate), shape.lookback, shape.horizon)
        return RecentConformal(scored, begins, self._generator.levels, self._season_steps)

    @property
    def _season_steps(self) -> int:
        """Steps of the calendar's season; without one, those of a forecast."""
        season = self._data.season
        return season.steps if season is not None else self._data.shape.horizon

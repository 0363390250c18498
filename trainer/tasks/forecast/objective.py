"""The loss of a forecaster, and its validation scores."""

from __future__ import annotations

import logging

import keras
import numpy as np
import tensorflow as tf

from trainer.errors import DataError
from trainer.nn.step_context import StepContext
from trainer.tasks.forecast.model.blend import NETWORK, REGRESSION, best_share, share_sums, weighted_mse
from trainer.tasks.forecast.model.distributions import DISTRIBUTIONS, Distribution, quantile_loss
from trainer.tasks.forecast.model.forecaster import Forecaster
from trainer.tasks.forecast.model.predictor import ForecastGenerator
from trainer.tasks.forecast.model.ridge import fit_ridge
from trainer.tasks.forecast.task_data import ForecastData
from trainer.tasks.task import Batch, CarriedState, Objective, Sums

logger = logging.getLogger(__name__)


class ForecastObjective(Objective):
    """Squared or absolute errors, or the likelihood of a distribution.

    Attributes:
        distribution: None where forecasts are points.
        generator: makes forecasts of what the model gives.
    """

    data: ForecastData

    def __init__(self, data: ForecastData):
        super().__init__(data)
        self._flags = forecast = data.flags
        self._linear: np.ndarray | None = None  # weights of the linear skip, once fitted
        self.distribution: Distribution | None = None
        if forecast.output != "point":
            self.distribution = DISTRIBUTIONS[forecast.output](forecast.levels, data.mean, data.std)
        self.generator = ForecastGenerator(self.distribution, forecast.ancestral)
        self.score_name = "mse" if self.distribution is None else "weighted_quantile_loss"

    @property
    def draws_parallel_paths(self) -> bool:
        """Whether paths are drawn from the distributions of all steps at once."""
        return self.distribution is not None and not self.generator.ancestral

    def fit(self) -> None:
        """Fits the linear skip, where there is one.

        Raises:
          DataError: no window of the training split has all its targets.
        """
        if self._flags.linear_skip == "none":
            return
        data = self.data
        train, validation = data.univariate_segments("train"), data.univariate_segments("validation")
        ridge = fit_ridge(train, validation, data.shape.lookback, data.shape.horizon)
        if ridge is None:
            raise DataError(
                f"--linear_skip: no window of {data.config.data_dir} has all its targets; leave it out, or fill the "
                "gaps"
            )
        logger.info("linear skip: ridge regression with a penalty of %g fitted to the training split", ridge.penalty)
        self._linear = ridge.weights

    @property
    def starts_fitted(self) -> bool:
        return self._flags.linear_skip == "add"

    def build_model(self, dtype: str) -> keras.Model:
        data, config = self.data, self.data.config
        num_series = len(data.facts.columns) * len(data.facts.groups)
        return Forecaster(
            data.shape,
            num_series,
            self._flags,
            config.model,
            dtype,
            config.device.kernel,
            self.distribution,
            self._linear,
        )

    @property
    def nominal_weight(self) -> float:
        shape = self.data.shape
        return float(self.data.config.budget.batch_size * shape.horizon * shape.channels)

    def loss(
        self, model: keras.Model, batch: Batch, context: StepContext | None, state: CarriedState
    ) -> tuple[tf.Tensor, tf.Tensor, CarriedState]:
        numbers = model(batch, context=context)
        if self.distribution is not None:
            each = self.distribution.loss(numbers, batch["target"], batch["series"])
        else:
            error = numbers - batch["target"]
            each = tf.abs(error) if self._flags.forecast_loss == "mae" else tf.square(error)
        return tf.reduce_sum(each * batch["target_weight"]), tf.reduce_sum(batch["target_weight"]), state

    def validation_sums(self, model: keras.Model, batch: Batch, state: CarriedState) -> tuple[Sums, CarriedState]:
        target, weight = batch["target"], batch["target_weight"]
        if model.network_share is not None:
            network, regression = model.parts(batch)
            return share_sums(network, regression, target, weight), state
        computed = self.generator.computed(model, batch)
        numbers, forecast = computed(batch), self.generator.forecast(computed, batch)
        squared, absolute = tf.square(forecast["mean"] - target), tf.abs(forecast["median"] - target)
        total = tf.reduce_sum(weight)
        sums = {"mse": (tf.reduce_sum(squared * weight), total), "mae": (tf.reduce_sum(absolute * weight), total)}
        if self.distribution is not None:
            std, mean = (
                tf.gather(tf.constant(each, tf.float32), batch["series"])[:, None]
                for each in (self.data.std, self.data.mean)
            )
            loss = quantile_loss(forecast["quantiles"], target, self.distribution.levels)
            size = tf.abs(target * std + mean)
            sums["weighted_quantile_loss"] = tf.reduce_sum(loss * std * weight), tf.reduce_sum(size * weight)
            sums["loss"] = tf.reduce_sum(self.distribution.loss(numbers, target, batch["series"]) * weight), total
        return sums, state

    def validation_scores(self, model: keras.Model, means: dict[str, float]) -> dict[str, float]:
        """Sets the share of the network in a weighted forecast; its error is then that of the forecast so weighted."""
        if model.network_share is None:
            return means
        share = best_share(means)
        model.network_share.assign(share)
        return {"mse": weighted_mse(means, share), "network_share": share} | {
            name: means[name] for name in (NETWORK, REGRESSION)
        }

"""The forecaster behind signatures on raw values: standardisation, missing values, time features and calibration
inside.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from trainer.tasks.forecast.data.calendar_features import time_features
from trainer.tasks.forecast.data.calendar_grid import future_times
from trainer.tasks.forecast.data.covariates import static_features
from trainer.tasks.forecast.data.windows import WindowShape
from trainer.tasks.forecast.facts import SeriesFacts
from trainer.tasks.forecast.model.predictor import ForecastGenerator
from trainer.tasks.request_checks import at_least, within
from trainer.tasks.serving import Serving, Signature

DRAWING_INPUTS = (tf.TensorSpec([], tf.int32, "num_samples"), tf.TensorSpec([], tf.int64, "seed"))


class ForecastServer:
    """Maps raw lookbacks of all columns to raw forecasts."""

    def __init__(
        self,
        model: keras.Model,
        generator: ForecastGenerator,
        shape: WindowShape,
        facts: SeriesFacts,
        multivariate: bool,
        largest_num_samples: int,
    ):
        """Takes, beside the model and how it is read, the most paths that `sample` draws for a request."""
        self._largest_num_samples = largest_num_samples
        self.model, self.generator, self.shape, self.facts, self.multivariate = (
            model,
            generator,
            shape,
            facts,
            multivariate,
        )
        self._mean = tf.constant([group.mean for group in facts.groups], tf.float32)  # [G, D]
        self._std = tf.constant([group.std for group in facts.groups], tf.float32)
        self._static = tf.constant(static_features(facts))  # [G, J]
        self._known_mean = tf.constant([column.mean for column in facts.known], tf.float32)  # [K]
        self._known_std = tf.constant([column.std for column in facts.known], tf.float32)
        self.reads_times = shape.features > len(facts.known) + self._static.shape[1]

    def inputs(self) -> tuple[tf.TensorSpec, ...]:
        """Specs of the arguments of `forecast`: times and known columns only if the model reads them, groups if there
        are several.
        """
        specs = [tf.TensorSpec([None, self.shape.lookback, len(self.facts.columns)], tf.float32, "values")]
        if self.reads_times:
            specs.append(tf.TensorSpec([None, self.shape.lookback], tf.int64, "times"))
        if self.facts.known:
            specs.append(
                tf.TensorSpec(
                    [None, self.shape.lookback + self.shape.horizon, len(self.facts.known)], tf.float32, "known"
                )
            )
        if len(self.facts.groups) > 1:
            specs.append(tf.TensorSpec([None], tf.int32, "group"))
        return tuple(specs)

    def forecast(
        self,
        values: tf.Tensor,
        times: tf.Tensor | None = None,
        known: tf.Tensor | None = None,
        group: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Forecasts in raw units.

        Args:
          values: [B, L, D] float32, raw; NaN where missing.
          times: [B, L] int64, Unix seconds of the rows.
          known: [B, L + H, K] float32, raw, of the known columns; NaN where missing.
          group: [B] int32, index of the series group.

        Returns:
          `forecast`: [B, H, D] float32, raw. A probabilistic model gives the median there, and `mean`: [B, H, D] and
          `quantiles`: [B, H, D, Q] beside it.
        """
        group = self._known_group(group)
        predicted = self.generator.forecast(self.model, self._batch(values, times, known, group))
        mean, std = self._scale(values, group)
        raw = {"forecast": self._by_column(predicted["median"]) * std + mean}
        if "quantiles" in predicted:
            raw["mean"] = self._by_column(predicted["mean"]) * std + mean
            raw["quantiles"] = self._by_column(predicted["quantiles"]) * std[..., None] + mean[..., None]
        return raw

    def sample(
        self,
        values: tf.Tensor,
        num_samples: tf.Tensor,
        seed: tf.Tensor,
        times: tf.Tensor | None = None,
        known: tf.Tensor | None = None,
        group: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Sample paths in raw units: `samples`: [B, N, H, D] float32. Arguments as of `forecast`, and N and the seed of
        all draws.
        """
        num_samples = within(num_samples, 1, self._largest_num_samples, "num_samples")
        group, seed = self._known_group(group), at_least(seed, 0, "seed")
        drawn = self.generator.draw(self.model, self._batch(values, times, known, group), num_samples, seed)
        mean, std = self._scale(values, group)
        drawn = tf.transpose(drawn, [1, 2, 3, 0])  # [B or B * D, H, C, N]
        return {"samples": tf.transpose(self._by_column(drawn) * std[..., None] + mean[..., None], [0, 3, 1, 2])}

    def _known_group(self, group: tf.Tensor | None) -> tf.Tensor | None:
        return None if group is None else within(group, 0, len(self.facts.groups) - 1, "group")

    def _scale(self, values: tf.Tensor, group: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation of the columns of each row, [B, 1, D]."""
        group = tf.zeros([tf.shape(values)[0]], tf.int32) if group is None else group
        return tf.gather(self._mean, group)[:, None], tf.gather(self._std, group)[:, None]

    def _batch(
        self, values: tf.Tensor, times: tf.Tensor | None, known: tf.Tensor | None, group: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """The model's inputs, as `WindowShape.signature` tells: rows are windows, or windows by columns where series
        are shared.
        """
        batch, columns = tf.shape(values)[0], len(self.facts.columns)
        mean, std = self._scale(values, group)
        group = tf.zeros([batch], tf.int32) if group is None else group
        past = _zero_where_missing(values, (values - mean) / std)
        observed = tf.cast(tf.math.is_finite(values), tf.float32)
        features = self._features(times, known, group)
        past_features, future_features = features[:, : self.shape.lookback], features[:, self.shape.lookback :]
        series = group[:, None] * columns + tf.range(columns)  # [B, D]
        if not self.multivariate:
            past, observed, series = _columns_to_batch(past), _columns_to_batch(observed), tf.reshape(series, [-1, 1])
            past_features, future_features = (
                _for_each_column(part, columns) for part in (past_features, future_features)
            )
        return {
            "past": past,
            "past_observed": observed,
            "past_features": past_features,
            "future_features": future_features,
            "series": series,
        }

    def _by_column(self, x: tf.Tensor) -> tf.Tensor:
        """`[B * D, H, 1, ...] -> [B, H, D, ...]` where series are shared."""
        if self.multivariate:
            return x
        rest = tf.shape(x)[3:]
        x = tf.reshape(x, tf.concat([[-1, len(self.facts.columns), self.shape.horizon], rest], axis=0))
        return tf.transpose(x, [0, 2, 1, *range(3, x.shape.rank)])

    def _features(self, times: tf.Tensor | None, known: tf.Tensor | None, group: tf.Tensor) -> tf.Tensor:
        """The features of all steps, [B, L + H, F], in the order of `Windows`."""
        parts = []
        if times is not None and self.facts.interval is not None:
            ahead = future_times(times[:, -1], self.shape.horizon, self.facts.interval)
            parts.append(time_features(tf.concat([times, ahead], axis=1)))
        if known is not None:
            parts.append(_zero_where_missing(known, (known - self._known_mean) / self._known_std))
        steps, width = self.shape.lookback + self.shape.horizon, self._static.shape[1]
        if width:
            parts.append(tf.repeat(tf.gather(self._static, group)[:, None], steps, axis=1))
        return tf.concat(parts, axis=-1) if parts else tf.zeros([tf.shape(group)[0], steps, 0])


def _zero_where_missing(raw: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """`x`, and 0 where `raw` is NaN or infinite.

    Each choice hangs on `is_nan` or `is_inf` itself: of any other condition tf2onnx makes a product, and NaN times 0 is
    NaN.
    """
    return tf.where(tf.math.is_nan(raw), 0.0, tf.where(tf.math.is_inf(raw), 0.0, x))


def _for_each_column(features: tf.Tensor, columns: int) -> tf.Tensor:
    """[B, T, F] -> [B * D, T, F]; where there are no features nothing is repeated, for converters cannot infer sizes of
    what is empty.
    """
    if features.shape[-1]:
        return tf.repeat(features, columns, axis=0)
    return tf.zeros([tf.shape(features)[0] * columns, features.shape[1], 0])


def _columns_to_batch(x: tf.Tensor) -> tf.Tensor:
    """[B, L, D] -> [B * D, L, 1]."""
    return tf.reshape(tf.transpose(x, [0, 2, 1]), [-1, x.shape[1], 1])


def forecast_serving(
    model: keras.Model,
    generator: ForecastGenerator,
    shape: WindowShape,
    facts: SeriesFacts,
    multivariate: bool,
    largest_num_samples: int,
) -> Serving:
    """The signature `serving_default` of a forecaster, and `sample` of a probabilistic one."""
    server = ForecastServer(model, generator, shape, facts, multivariate, largest_num_samples)
    example = _example(server)
    signatures = {"serving_default": Signature(server.forecast, server.inputs(), example)}
    if generator.levels:
        drawing: dict[str, np.ndarray] = {"num_samples": np.array(2, np.int32), "seed": np.array(7, np.int64)}
        signatures["sample"] = Signature(server.sample, (*server.inputs(), *DRAWING_INPUTS), example | drawing)
    return Serving(signatures, contract(server) | {"limits": {"num_samples": largest_num_samples}})


def _paths(generator: ForecastGenerator) -> str | None:
    """How the steps of the signature `sample`'s paths hang together; None without one."""
    if not generator.levels:
        return None
    return "autoregressive" if generator.ancestral else "independent" if generator.copula is None else "validation"


def contract(server: ForecastServer) -> dict[str, object]:
    """The contract of the model with its clients."""
    shape, facts, generator = server.shape, server.facts, server.generator
    return {
        "task": "forecast",
        "lookback": shape.lookback,
        "horizon": shape.horizon,
        "columns": list(facts.columns),
        "groups": [group.name for group in facts.groups],
        "interval": dataclasses.asdict(facts.interval) if facts.interval else None,
        "needs_times": server.reads_times,
        "known_columns": [column.name for column in facts.known],
        "static_covariates": [column.name for column in facts.static],
        "static": {group.name: list(group.static) for group in facts.groups} if facts.static else {},
        "levels": list(generator.levels),
        "calibrated": generator.conformal is not None,
        "paths": _paths(generator),
    }


def _example(server: ForecastServer) -> dict[str, np.ndarray]:
    """Three windows around the series' means, with some values missing."""
    generator = np.random.default_rng(0)
    group = server.facts.groups[0]
    noise = generator.standard_normal((3, server.shape.lookback, len(server.facts.columns)))
    values = (noise * group.std + group.mean).astype(np.float32)
    values[1, :: max(2, server.shape.lookback // 5)] = np.nan
    example: dict[str, np.ndarray] = {"values": values}
    names = {spec.name for spec in server.inputs()}
    if "times" in names:
        step = (
            server.facts.interval.count
            if server.facts.interval and server.facts.interval.unit == "second"
            else 30 * 86_400
        )
        first = (group.first_time or 0) + np.arange(3)[:, None] * step
        example["times"] = first + np.arange(server.shape.lookback)[None] * step
    if "known" in names:
        steps = server.shape.lookback + server.shape.horizon
        scale = np.array([[column.std, column.mean] for column in server.facts.known])
        example["known"] = (generator.standard_normal((3, steps, len(scale))) * scale[:, 0] + scale[:, 1]).astype(
            np.float32
        )
    if "group" in names:
        example["group"] = np.zeros(3, np.int32)
    return example

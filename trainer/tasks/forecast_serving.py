"""The forecaster behind a signature on raw values: standardisation, missing values and time features inside."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from trainer.data.calendar_features import time_features
from trainer.data.calendar_grid import future_times
from trainer.data.manifest import SeriesFacts
from trainer.data.windows import WindowShape
from trainer.tasks.serving import Serving, Signature


class ForecastServer(tf.Module):
    """Maps raw lookbacks of all columns to raw forecasts."""

    def __init__(self, model: keras.Model, shape: WindowShape, facts: SeriesFacts, joint: bool):
        super().__init__()
        self.model, self.shape, self.facts, self.joint = model, shape, facts, joint
        self._mean = tf.constant([group.mean for group in facts.groups], tf.float32)  # [G, D]
        self._std = tf.constant([group.std for group in facts.groups], tf.float32)

    def inputs(self) -> tuple[tf.TensorSpec, ...]:
        """Specs of the arguments of `forecast`: times only if the model reads them, groups only if there are several."""
        specs = [tf.TensorSpec([None, self.shape.lookback, len(self.facts.columns)], tf.float32, "values")]
        if self.shape.features:
            specs.append(tf.TensorSpec([None, self.shape.lookback], tf.int64, "times"))
        if len(self.facts.groups) > 1:
            specs.append(tf.TensorSpec([None], tf.int32, "group"))
        return tuple(specs)

    def forecast(self, values: tf.Tensor, times: tf.Tensor | None = None, group: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Forecasts in raw units.

        Args:
          values: [B, L, D] float32, raw; NaN where missing.
          times: [B, L] int64, Unix seconds of the rows.
          group: [B] int32, index of the series group.

        Returns:
          `forecast`: [B, H, D] float32, raw.
        """
        batch, columns = tf.shape(values)[0], len(self.facts.columns)
        group = tf.zeros([batch], tf.int32) if group is None else group
        mean, std = tf.gather(self._mean, group)[:, None], tf.gather(self._std, group)[:, None]  # [B, 1, D]
        observed = tf.math.is_finite(values)
        past = tf.where(observed, (values - mean) / std, 0.0)
        observed = tf.cast(observed, tf.float32)
        past_features = tf.zeros([batch, self.shape.lookback, 0])
        future_features = tf.zeros([batch, self.shape.horizon, 0])
        if times is not None and self.facts.interval is not None:
            past_features = time_features(times)
            future_features = time_features(future_times(times[:, -1], self.shape.horizon, self.facts.interval))
        series = group[:, None] * columns + tf.range(columns)  # [B, D]
        if self.joint:
            forecast = self._run(past, observed, past_features, future_features, series)
        else:
            known = tf.repeat(past_features, columns, axis=0), tf.repeat(future_features, columns, axis=0)
            forecast = self._run(_columns_to_batch(past), _columns_to_batch(observed), *known, tf.reshape(series, [-1, 1]))
            forecast = tf.transpose(tf.reshape(forecast, [-1, columns, self.shape.horizon]), [0, 2, 1])
        return {"forecast": forecast * std + mean}

    def _run(
        self, past: tf.Tensor, observed: tf.Tensor, past_features: tf.Tensor, future_features: tf.Tensor, series: tf.Tensor
    ) -> tf.Tensor:
        batch = {
            "past": past,
            "past_observed": observed,
            "past_features": past_features,
            "future_features": future_features,
            "series": series,
        }
        return self.model(batch)


def _columns_to_batch(x: tf.Tensor) -> tf.Tensor:
    """[B, L, D] -> [B * D, L, 1]."""
    return tf.reshape(tf.transpose(x, [0, 2, 1]), [-1, x.shape[1], 1])


def forecast_serving(model: keras.Model, shape: WindowShape, facts: SeriesFacts, joint: bool) -> Serving:
    """The signature `serving_default` of a forecaster."""
    server = ForecastServer(model, shape, facts, joint)
    return Serving(server, {"serving_default": Signature(server.forecast, server.inputs(), _example(server))}, contract(shape, facts))


def contract(shape: WindowShape, facts: SeriesFacts) -> dict[str, object]:
    """What a client has to know of the model."""
    return {
        "task": "forecast",
        "lookback": shape.lookback,
        "horizon": shape.horizon,
        "columns": list(facts.columns),
        "groups": [group.name for group in facts.groups],
        "interval": dataclasses.asdict(facts.interval) if facts.interval else None,
        "needs_times": bool(shape.features),
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
        step = server.facts.interval.count if server.facts.interval and server.facts.interval.unit == "second" else 30 * 86_400
        first = (group.first_time or 0) + np.arange(3)[:, None] * step
        example["times"] = first + np.arange(server.shape.lookback)[None] * step
    if "group" in names:
        example["group"] = np.zeros(3, np.int32)
    return example

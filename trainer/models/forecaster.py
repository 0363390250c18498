"""A recurrent forecaster: normalises each window, reads it, and gives all steps of the horizon at once."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.config import ForecastConfig, ModelConfig
from trainer.data.windows import Batch, WindowShape
from trainer.models.noise import Noise, dropout
from trainer.models.recurrent import RecurrentStack

SMALLEST_STD = 1e-3  # of a window, in units of the whole series' deviation: a flat window is not blown up
FUTURE_UNITS = 32


def window_statistics(past: tf.Tensor, observed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and standard deviation of each window's observed values: [B, L, C] -> twice [B, 1, C] (0 and 1 where none is)."""
    count = tf.reduce_sum(observed, axis=1, keepdims=True)
    mean = tf.math.divide_no_nan(tf.reduce_sum(past * observed, axis=1, keepdims=True), count)
    variance = tf.math.divide_no_nan(tf.reduce_sum(tf.square(past - mean) * observed, axis=1, keepdims=True), count)
    return mean, tf.where(count > 0, tf.sqrt(variance + SMALLEST_STD**2), 1.0)


class Forecaster(keras.Model):
    """Reversible per-window standardisation (Kim et al. 2022), a recurrent encoder, and a direct multi-step head.

    With `segment_length` above 1 the encoder reads segments instead of single steps (SegRNN, Lin et al. 2023). The head adds what the
    last state says of each future step, what the future's known time features say, and a linear map of the lookback (Zeng et al. 2023).
    """

    def __init__(self, shape: WindowShape, forecast: ForecastConfig, model: ModelConfig, dtype: str):
        super().__init__(autocast=False, name="forecaster")
        self._shape, self._rate = shape, model.dropout
        self._segment = forecast.segment_length
        self._outputs = (shape.horizon, shape.channels)
        self._embed = keras.layers.Dense(model.units, activation="relu", dtype=dtype, name="embed") if self._segment > 1 else None
        self.stack = RecurrentStack(model.cell, model.num_layers, model.units, model.dropout, dtype)
        self._head = keras.layers.Dense(shape.horizon * shape.channels, dtype=dtype, name="head")
        self._state_in = keras.layers.Dense(FUTURE_UNITS, use_bias=False, dtype=dtype, name="future_state") if shape.features else None
        self._time_in = keras.layers.Dense(FUTURE_UNITS, dtype=dtype, name="future_time") if shape.features else None
        self._time_out = keras.layers.Dense(shape.channels, dtype=dtype, name="future_out") if shape.features else None
        self._skip = (
            keras.layers.Dense(shape.horizon, kernel_initializer="zeros", dtype="float32", name="skip") if forecast.linear_skip else None
        )

    def call(self, batch: Batch, noise: Noise | None = None) -> tf.Tensor:
        """Forecasts `[B, H, C]` float32, in the units of `batch["past"]`."""
        mean, std = window_statistics(batch["past"], batch["past_observed"])
        past = (batch["past"] - mean) / std * batch["past_observed"]  # [B, L, C], 0 where missing
        state = self._encode(past, batch, noise)  # [B, H']
        forecast = tf.reshape(self._head(state), [-1, *self._outputs])
        if self._time_in is not None and self._state_in is not None and self._time_out is not None:
            hidden = tf.nn.relu(self._time_in(batch["future_features"]) + self._state_in(state)[:, None])
            forecast += self._time_out(hidden)
        forecast = tf.cast(forecast, tf.float32)
        if self._skip is not None:
            forecast += tf.transpose(self._skip(tf.transpose(past, [0, 2, 1])), [0, 2, 1])
        return forecast * std + mean

    def use_portable_kernels(self) -> None:
        self.stack.use_portable_kernels()

    def _encode(self, past: tf.Tensor, batch: Batch, noise: Noise | None) -> tf.Tensor:
        x = tf.concat([past, 1.0 - batch["past_observed"], batch["past_features"]], axis=-1)  # [B, L, 2C + F]
        if self._embed is not None:
            x = tf.reshape(x, [-1, self._shape.lookback // self._segment, self._segment * x.shape[-1]])
            x = self._embed(x)
        last = self.stack(x, noise=noise)[:, -1]
        return dropout(last, self._rate, noise, "state")

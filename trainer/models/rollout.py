"""A decoder that forecasts one segment after another, each from the one before it."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.data.windows import WindowShape
from trainer.models.noise import Noise, dropout
from trainer.models.recurrent import RecurrentStack

State = tuple[Any, ...]


class Rollout(keras.layers.Layer):
    """A recurrent stack of its own that goes on from the encoder's state and reads its own forecasts (Sutskever et al. 2014).

    It does so in training too, so it learns to live with its errors and no share of true values has to be scheduled.
    """

    def __init__(self, shape: WindowShape, segment: int, model: ModelConfig, dtype: str, kernel: str, start: str = "glorot_uniform"):
        """`start` is the initializer of the matrix that writes the forecast."""
        super().__init__(name="rollout", dtype=dtype)
        self._shape, self._segment, self._rate = shape, segment, model.dropout
        self.stack = RecurrentStack.of(model, dtype, name="decoder", kernel=kernel)
        self._read = keras.layers.Dense(model.units, activation="relu", dtype=dtype, name="read")
        self._write = keras.layers.Dense(segment * shape.channels, kernel_initializer=start, dtype=dtype, name="write")

    def call(
        self, last: tf.Tensor, features: tf.Tensor, series: tf.Tensor, added: tf.Tensor, state: State, noise: Noise | None = None
    ) -> tf.Tensor:
        """Forecasts `[B, H, C]` float32.

        Args:
          last: [B, segment, C], the end of the lookback, relative to the window's last value as all values here.
          features: [B, H, F], known of the future.
          series: [B, E], embedding of the series.
          added: [B, H, C] float32, what is added to the forecast before the next segment reads it.
          state: of the encoder at its end.
          noise: None stands for no dropout.
        """
        shape, segment = self._shape, self._segment
        ahead = shape.horizon // segment
        known = _by_segment(features, ahead, segment * shape.features)
        plus = _by_segment(added, ahead, segment * shape.channels)
        written = tf.TensorArray(tf.float32, size=ahead, element_shape=[None, segment * shape.channels])
        before = tf.reshape(tf.cast(last, tf.float32), [-1, segment * shape.channels])

        def body(t: tf.Tensor, before: tf.Tensor, state: State, written: tf.TensorArray) -> tuple[Any, ...]:
            x = self._read(tf.concat([tf.cast(before, series.dtype), tf.cast(known[t], series.dtype), series], axis=-1))
            outputs, state = self.stack.run(x[:, None], noise=noise, state=state)
            forecast = tf.cast(self._write(dropout(outputs[:, 0], self._rate, noise, "rollout")), tf.float32) + plus[t]
            return t + 1, forecast, state, written.write(t, forecast)

        loop = body(tf.constant(0), before, state, written)  # outside the loop, where variables can be made
        *_, written = tf.while_loop(lambda t, *_: t < ahead, body, loop, parallel_iterations=1, maximum_iterations=ahead)
        return tf.reshape(tf.transpose(written.stack(), [1, 0, 2]), [-1, shape.horizon, shape.channels])


def _by_segment(x: tf.Tensor, count: int, width: int) -> tf.Tensor:
    """`[B, H, N] -> [segments, B, segment * N]`."""
    return tf.transpose(tf.reshape(x, [tf.shape(x)[0], count, width]), [1, 0, 2])

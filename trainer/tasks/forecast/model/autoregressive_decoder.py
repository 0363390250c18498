"""A decoder that forecasts one segment after another, each from the one before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.config.train import ModelFlags
from trainer.nn.layer import Layer
from trainer.nn.recurrent import RecurrentStack
from trainer.nn.step_context import StepContext, dropout
from trainer.tasks.forecast.data.windows import WindowShape

RecurrentState = tuple[Any, ...]
Sampler = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""The numbers of a segment `[B, segment, C, P]` and its place among the segments -> the values in it, `[B, segment,
C]`."""


class DecoderInputs(NamedTuple):
    """The state that the decoder goes on from; values are relative to the window's last one.

    Attributes:
      last: [B, segment, C], the end of the lookback.
      features: [B, H, F], known of the future.
      series: [B, E], embedding of the series.
      added: [B, H, C] float32, what is added to the first number of each value before the next segment reads it.
      state: of the encoder at its end.
    """

    last: tf.Tensor
    features: tf.Tensor
    series: tf.Tensor
    added: tf.Tensor
    state: RecurrentState


class AutoregressiveDecoder(Layer):
    """A recurrent stack of its own that goes on from the encoder's state and reads the values before each segment.

    These are its own forecasts (Sutskever et al. 2014), or draws of them. In training a share of the segments can read
    the true values instead: all of them is teacher forcing (Williams and Zipser 1989), a share that falls scheduled
    sampling (Bengio et al. 2015).
    """

    def __init__(
        self,
        shape: WindowShape,
        segment: int,
        model: ModelFlags,
        dtype: str,
        kernel: str,
        numbers: int,
        start: str = "glorot_uniform",
    ):
        """Writes so many `numbers` of each value; `start` is the initializer of the matrix that writes them."""
        super().__init__(name="rollout", dtype=dtype)
        self._shape, self._segment, self._rate, self._numbers = shape, segment, model.dropout, numbers
        self.stack = RecurrentStack.of(model, dtype, name="decoder", kernel=kernel)
        self._read = keras.layers.Dense(model.units, activation="relu", dtype=dtype, name="read")
        self._write = keras.layers.Dense(
            segment * shape.channels * numbers, kernel_initializer=start, dtype=dtype, name="write"
        )

    def call(
        self,
        inputs: DecoderInputs,
        *,
        sampled: Sampler | None = None,
        teacher_targets: tuple[tf.Tensor, tf.Tensor] | None = None,
        return_values: bool = False,
        context: StepContext | None = None,
    ) -> tf.Tensor:
        """Forecasts `[B, H, C, P]` float32, or with `return_values` the values that were read on the way, `[B, H, C]`.

        Args:
          inputs: what it goes on from.
          sampled: gives the values of a segment out of its numbers; without it they are the first number.
          teacher_targets: [B, H, C] true values, and [B, H, C] bool where they are read instead of the decoder's own.
          context: None stands for no dropout.
        """
        last, features, series, added, state = inputs
        shape, segment = self._shape, self._segment
        ahead, width = shape.horizon // segment, segment * shape.channels
        known = _by_segment(features, ahead, segment * shape.features)
        plus = _by_segment(added, ahead, width)
        truths = None if teacher_targets is None else tuple(_by_segment(part, ahead, width) for part in teacher_targets)
        kept = width if return_values else width * self._numbers
        written = tf.TensorArray(tf.float32, size=ahead, element_shape=[None, kept])
        before = tf.reshape(tf.cast(last, tf.float32), [-1, width])

        def body(t: tf.Tensor, before: tf.Tensor, state: RecurrentState, written: tf.TensorArray) -> tuple[Any, ...]:
            x = self._read(tf.concat([tf.cast(before, series.dtype), tf.cast(known[t], series.dtype), series], axis=-1))
            outputs, state = self.stack.run(x[:, None], context=context, state=state)
            numbers = tf.cast(self._write(dropout(outputs[:, 0], self._rate, context, "rollout")), tf.float32)
            numbers = tf.reshape(numbers, [-1, segment, shape.channels, self._numbers])
            first = numbers[..., 0] + tf.reshape(plus[t], [-1, segment, shape.channels])
            numbers = tf.concat([first[..., None], numbers[..., 1:]], axis=-1)
            values = tf.ensure_shape(
                tf.reshape(first if sampled is None else sampled(numbers, t), [-1, width]), before.shape
            )
            if truths is not None:
                values = tf.where(truths[1][t], truths[0][t], values)
            return t + 1, values, state, written.write(t, values if return_values else tf.reshape(numbers, [-1, kept]))

        loop = body(tf.constant(0), before, state, written)  # outside the loop, where variables can be made
        *_, written = tf.while_loop(
            lambda t, *_: t < ahead, body, loop, parallel_iterations=1, maximum_iterations=ahead
        )
        stacked = tf.transpose(written.stack(), [1, 0, 2])
        return tf.reshape(stacked, [-1, shape.horizon, shape.channels, *([] if return_values else [self._numbers])])


def _by_segment(x: tf.Tensor, count: int, width: int) -> tf.Tensor:
    """`[B, H, N] -> [segments, B, segment * N]`."""
    return tf.transpose(tf.reshape(x, [tf.shape(x)[0], count, width]), [1, 0, 2])

"""The networks of a forecaster: what reads the lookback, and what writes all steps of the horizon at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.config.train import ModelFlags
from trainer.nn.layer import Layer
from trainer.nn.recurrent import RecurrentStack
from trainer.nn.step_context import StepContext, dropout
from trainer.tasks.forecast.data.windows import Batch, WindowShape

FUTURE_UNITS = 32


class Read(NamedTuple):
    """The outputs of an encoder.

    Attributes:
      last: [B, H'], the output at the end of the lookback.
      state: of every recurrent layer there.
      series: [B, H' / 2], the embedding of each window's series; None where none is made.
    """

    last: tf.Tensor
    state: tuple[Any, ...]
    series: tf.Tensor | None


class Encoder(Layer):
    """Reads the lookback, segment by segment (SegRNN, Lin et al. 2023) or step by step, and looks up the embedding of
    the series.
    """

    def __init__(
        self,
        shape: WindowShape,
        segment: int,
        num_series: int,
        model: ModelFlags,
        dtype: str,
        kernel: str,
        embeds: bool,
    ):
        """`embeds` says whether the series gets an embedding."""
        super().__init__(name="encoder", dtype=dtype, autocast=False)
        self._shape, self._segment = shape, segment
        self.stack = RecurrentStack.of(model, dtype, kernel=kernel)
        self._embed = (
            keras.layers.Dense(model.units, activation="relu", dtype=dtype, name="embed") if segment > 1 else None
        )
        # joint series are always the same ones; an embedding would be a bias
        count = num_series if shape.channels == 1 else 1
        self._series = keras.layers.Embedding(count, model.units // 2, dtype=dtype, name="series") if embeds else None

    def call(self, x: tf.Tensor, batch: Batch, context: StepContext | None = None) -> Read:
        """Reads `x: [B, L, 2C + F]`."""
        if self._embed is not None:
            x = self._embed(tf.reshape(x, [-1, self._shape.lookback // self._segment, self._segment * x.shape[-1]]))
        outputs, state = self.stack.run(x, context=context)
        series = batch["series"][:, 0]
        if self._shape.channels > 1:
            series = tf.zeros_like(series)
        return Read(outputs[:, -1], state, None if self._series is None else self._series(series))


class ParallelNetwork(Layer):
    """Writes all steps of the horizon at once.

    With segments longer than one step, one more recurrent step for each segment of the horizon, all at the same time,
    turns the encoder's last state and an embedding of the segment's position and of the series into that segment
    (SegRNN). Step by step, one matrix turns the last state into the whole horizon. Either way what the known features
    of the future say is added.
    """

    def __init__(
        self,
        shape: WindowShape,
        segment: int,
        num_series: int,
        model: ModelFlags,
        dtype: str,
        kernel: str,
        *,
        numbers: int,
        start: str,
        name: str,
    ):
        """Writes so many `numbers` of each value; `start` is the initializer of the matrices that write them."""
        super().__init__(name=name, dtype=dtype, autocast=False)
        self._shape, self._segment, self._rate, self._width = shape, segment, model.dropout, shape.channels * numbers
        self.encoder = Encoder(shape, segment, num_series, model, dtype, kernel, embeds=segment > 1)
        steps = segment if segment > 1 else shape.horizon
        self._head = keras.layers.Dense(steps * self._width, kernel_initializer=start, dtype=dtype, name="head")
        if segment > 1:
            width = model.units - model.units // 2
            self._position = keras.layers.Embedding(shape.horizon // segment, width, dtype=dtype, name="position")
        if shape.features:
            self._state_in = keras.layers.Dense(FUTURE_UNITS, use_bias=False, dtype=dtype, name="future_state")
            self._time_in = keras.layers.Dense(FUTURE_UNITS, dtype=dtype, name="future_time")
            self._time_out = keras.layers.Dense(self._width, kernel_initializer=start, dtype=dtype, name="future_out")

    def call(self, x: tf.Tensor, batch: Batch, context: StepContext | None = None) -> tf.Tensor:
        """Maps the lookback `x: [B, L, 2C + F]` to `[B, H, C * P]` float32, relative to the window's last value."""
        read = self.encoder(x, batch, context=context)
        if read.series is None:
            written = self._head(dropout(read.last, self._rate, context, "state"))
        else:
            written = self._segments(read.state, read.series, context)
        written = tf.reshape(written, [-1, self._shape.horizon, self._width])
        if self._shape.features:
            written += self._time_out(
                tf.nn.relu(self._time_in(batch["future_features"]) + self._state_in(read.last)[:, None])
            )
        return tf.cast(written, tf.float32)

    def _segments(self, state: tuple[Any, ...], series: tf.Tensor, context: StepContext | None) -> tf.Tensor:
        """The segments of the horizon, `[B * segments, segment * C * P]`."""
        ahead, rows = self._shape.horizon // self._segment, tf.shape(series)[0]
        position = tf.tile(self._position(tf.range(ahead))[None], [rows, 1, 1])
        requested = tf.concat([position, tf.tile(series[:, None], [1, ahead, 1])], axis=-1)  # [B, segments, H']
        requested = tf.reshape(requested, [-1, 1, requested.shape[-1]])
        state = tf.nest.map_structure(lambda part: tf.repeat(part, ahead, axis=0), state)
        written, _ = self.encoder.stack.run(requested, context=context, state=state)
        return self._head(dropout(written[:, 0], self._rate, context, "segment"))

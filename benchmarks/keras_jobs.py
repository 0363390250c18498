"""Keras `fit` for `benchmarks/train.py`: the same models from Keras' own layers, as a reader of its guides would write
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Meter
from torch_jobs import standardised


def language_model(meter: Meter, text: Path, vocabulary: int, units: int, lanes: int, length: int) -> None:
    """Embedding, one LSTM layer, output matrix; every batch from a zero state (Keras' `stateful` asks for more than
    that).
    """
    import keras
    import tensorflow as tf

    characters = text.read_text(encoding="utf-8")
    characters = characters[: len(characters) * 9 // 10]
    number = {character: index for index, character in enumerate(sorted(set(characters)))}
    stream = np.array([number[character] for character in characters], np.int32)
    count = (len(stream) - 1) // length
    inputs, targets = (stream[first : first + count * length].reshape(count, length) for first in (0, 1))
    data = (
        tf.data.Dataset.from_tensor_slices((inputs, targets))
        .shuffle(count)
        .repeat()
        .batch(lanes, drop_remainder=True)
        .prefetch(8)
    )
    meter.ready()
    model = keras.Sequential(
        [
            keras.layers.Embedding(vocabulary, units),
            keras.layers.LSTM(units, return_sequences=True),
            keras.layers.Dense(vocabulary),
        ]
    )
    _fit(meter, model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), data)


def forecast(
    meter: Meter, path: Path, lookback: int, horizon: int, segment: int, units: int, batch: int, rows: int
) -> None:
    """The network of the recipe etth1_96 (`Forecaster`), which is trained without the regression, from Keras'
    layers.
    """
    import tensorflow as tf

    values = tf.constant(standardised(path, rows))
    each, span = rows - lookback - horizon + 1, tf.range(lookback + horizon, dtype=tf.int64)

    def cut(numbers: Any) -> Any:
        which = numbers // each
        window = tf.gather_nd(
            values, tf.stack([tf.repeat(which[:, None], len(span), 1), (numbers % each)[:, None] + span], axis=-1)
        )
        return (window[:, :lookback], tf.ones_like(window[:, :lookback]), which), window[:, lookback:]

    numbers = (
        tf.data.Dataset.range(each * len(values)).shuffle(each * len(values)).repeat().batch(batch, drop_remainder=True)
    )
    meter.ready()
    _fit(meter, _forecaster(lookback, horizon, segment, units, len(values)), "mae", numbers.map(cut).prefetch(8))


def _forecaster(lookback: int, horizon: int, segment: int, units: int, series: int) -> Any:
    import keras
    from keras import ops

    class Forecaster(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embed = keras.layers.Dense(units, activation="relu")
            self.recurrent = keras.layers.GRU(units, return_state=True)
            self.position = keras.layers.Embedding(horizon // segment, units - units // 2)
            self.which = keras.layers.Embedding(series, units // 2)
            self.drop = keras.layers.Dropout(0.5)
            self.head = keras.layers.Dense(segment)

        def call(self, inputs: Any, training: bool = False) -> Any:
            values, observed, which = inputs
            zero = values[:, -1:]
            past = ops.where(observed > 0, values - zero, 0.0)
            x = ops.reshape(ops.stack([past, 1 - observed], axis=-1), [-1, lookback // segment, segment * 2])
            _, state = self.recurrent(self.embed(x))
            ahead = horizon // segment
            position = ops.tile(self.position(ops.arange(ahead)), [ops.shape(values)[0], 1])
            asked = ops.concatenate([position, ops.repeat(self.which(which), ahead, axis=0)], axis=-1)
            written, _ = self.recurrent(asked[:, None], initial_state=ops.repeat(state, ahead, axis=0))
            forecast = ops.reshape(self.head(self.drop(written, training=training)), [-1, horizon])
            return forecast + zero

    return Forecaster()


def _fit(meter: Meter, model: Any, loss: Any, data: Any) -> None:
    import keras

    model.compile(optimizer=keras.optimizers.Adam(1e-3, global_clipnorm=1.0), loss=loss)
    tick = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: meter.tick())
    model.fit(data, steps_per_epoch=10**9, epochs=1, verbose=0, callbacks=[tick])

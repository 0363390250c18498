"""Stacks of recurrent layers."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.models.noise import Noise, dropout

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


class RecurrentStack(keras.layers.Layer):
    """LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014, reset after the product, as cuDNN has it) layers, one on another.

    Noise is dropped out of the input of every layer but the first.
    """

    def __init__(self, cell: str, num_layers: int, units: int, dropout_rate: float, dtype: str, name: str = "recurrent"):
        super().__init__(name=name, dtype=dtype)
        self._rate = dropout_rate
        self._stacked = [CELLS[cell](units, return_sequences=True, dtype=dtype, name=f"{cell}_{i}") for i in range(num_layers)]

    def call(self, x: tf.Tensor, noise: Noise | None = None) -> tf.Tensor:
        """Maps `x: [B, T, D]` to the outputs of the last layer, [B, T, H]."""
        for index, layer in enumerate(self._stacked):
            if index:
                x = dropout(x, self._rate, noise, f"{self.name}/{index}")
            x = layer(x)
        return x

    def use_portable_kernels(self) -> None:
        """Keeps cuDNN out of what is traced from now on: an exported graph has to run on a CPU too."""
        for layer in self._stacked:
            layer.use_cudnn = False

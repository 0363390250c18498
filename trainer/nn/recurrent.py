"""Recurrent layers: one set of weights in Keras' layout, cuDNN on GPUs, our own kernels on CPUs.

Letters: B batch, T time, D features, H hidden.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.config.train import ModelFlags
from trainer.nn import cpu_kernels, cudnn_kernels
from trainer.nn.compat import inside_xla
from trainer.nn.layer import Layer
from trainer.nn.step_context import StepContext, dropout

logger = logging.getLogger(__name__)

CELLS = ("lstm", "gru")
KERNELS = ("auto", "cudnn", "cpu")

RECURRENT_KERNEL = "/recurrent_kernel"

RecurrentState = tuple[Any, ...]  # of one layer: (h, c) or (h,), each [B, H]; two of these for both directions


@functools.cache
def _log_once(kernel: str) -> None:
    logger.info("recurrent kernel: %s", kernel)


def chosen_kernel(kernel: str, portable: bool) -> str:
    """`cudnn` or `cpu` for what is traced here and now: cuDNN where the ops go to a GPU and XLA does not compile
    them.
    """
    if portable or kernel == "cpu":
        return "cpu"
    if kernel == "cudnn":
        return kernel
    device = tf.identity(0.0).device  # what the strategy or the caller asked for; empty where nobody did
    on_gpu = "CPU" not in device.upper() if not tf.executing_eagerly() else "GPU" in device.upper()
    return "cudnn" if on_gpu and not inside_xla() and tf.config.list_logical_devices("GPU") else "cpu"


def gate_counts(variables: Sequence[keras.Variable]) -> list[int]:
    """For each variable, how many gates' matrices stand side by side in it: 4 or 3 for the two kernels of a recurrent
    layer, else 0.
    """
    recurrent = {path: variable.shape for variable in variables if (path := variable.path).endswith(RECURRENT_KERNEL)}
    counts = []
    for variable in variables:
        layer = variable.path.rpartition("/")[0]
        shape = recurrent.get(layer + RECURRENT_KERNEL)
        counts.append(shape[1] // shape[0] if shape is not None and not variable.path.endswith("/bias") else 0)
    return counts


class _UnitForgetBias(keras.initializers.Initializer):
    """Zeros, and ones for the forget gate (Jozefowicz et al. 2015); LSTM only."""

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        units = shape[0] // 4
        return tf.concat([tf.zeros([units], dtype), tf.ones([units], dtype), tf.zeros([2 * units], dtype)], axis=0)


class Recurrent(keras.layers.Layer):
    """One LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014, reset after the product, as cuDNN has it)
    layer.

    Weights are laid out and initialised as in `keras.layers.LSTM` and `keras.layers.GRU`. `recurrent_dropout` drops
    entries of the recurrent kernel, the same at all steps of a batch (DropConnect, Merity et al. 2018).
    """

    def __init__(
        self, cell: str, units: int, dtype: str, name: str, recurrent_dropout: float = 0.0, kernel: str = "auto"
    ):
        super().__init__(name=name, dtype=dtype)
        if cell not in CELLS or kernel not in KERNELS:
            raise ValueError(f"cell {cell!r} is not one of {CELLS}, or kernel {kernel!r} is not one of {KERNELS}")
        self.cell, self.units = cell, units
        self._recurrent_dropout, self._kernel, self._portable = recurrent_dropout, kernel, False

    def build(self, shape: tuple[int | None, ...]) -> None:
        if shape[-1] is None:
            raise ValueError(f"layer {self.name} needs a known number of features")
        gates = 4 if self.cell == "lstm" else 3
        width = gates * self.units
        self.kernel = self.add_weight((shape[-1], width), "glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight((self.units, width), "orthogonal", name="recurrent_kernel")
        if self.cell == "lstm":
            self.bias = self.add_weight((width,), _UnitForgetBias(), name="bias")
        else:
            self.bias = self.add_weight((2, width), "zeros", name="bias")

    def call(
        self,
        x: tf.Tensor,
        context: StepContext | None = None,
        lengths: tf.Tensor | None = None,
        state: RecurrentState | None = None,
    ) -> tuple[tf.Tensor, RecurrentState]:
        """Maps `x: [B, T, D]` to outputs [B, T, H], 0 past the end of a row, and the state after each row's last valid
        step.
        """
        kernel = chosen_kernel(self._kernel, self._portable)
        _log_once(kernel)
        weights = [
            tf.cast(tf.convert_to_tensor(weight), self.compute_dtype)
            for weight in (self.kernel, self.recurrent_kernel, self.bias)
        ]
        weights[1] = dropout(weights[1], self._recurrent_dropout, context, f"{self.path}/recurrent_kernel")
        x = tf.cast(x, self.compute_dtype)
        lengths = None if lengths is None else tf.cast(lengths, tf.int32)
        state = self.zero_state(tf.shape(x)[0] if x.shape[0] is None else x.shape[0]) if state is None else state
        state = tuple(tf.cast(part, self.compute_dtype) for part in state)
        if kernel == "cudnn":
            run = cudnn_kernels.lstm if self.cell == "lstm" else cudnn_kernels.gru
            outputs, *last = run(x, lengths, *state, *weights)
        else:
            recurrence = cpu_kernels.lstm if self.cell == "lstm" else cpu_kernels.gru
            outputs, *last = recurrence(x, lengths, *state, *weights, custom_gradient=not self._portable)
        return outputs, tuple(last)

    def zero_state(self, batch: int | tf.Tensor) -> RecurrentState:
        return tuple(tf.zeros([batch, self.units], self.compute_dtype) for _ in range(2 if self.cell == "lstm" else 1))

    def use_portable_kernels(self) -> None:
        """Keeps cuDNN, XLA and hand-written gradients out of what is traced from now on: an exported graph has to run
        on any device.
        """
        self._portable = True


class Bidirectional(Layer):
    """Two recurrent layers, one of which reads each row from its end (Schuster and Paliwal 1997); outputs stand side by
    side.
    """

    def __init__(
        self, cell: str, units: int, dtype: str, name: str, recurrent_dropout: float = 0.0, kernel: str = "auto"
    ):
        super().__init__(name=name, dtype=dtype)
        self.ahead = Recurrent(cell, units, dtype, "forward", recurrent_dropout, kernel)
        self.back = Recurrent(cell, units, dtype, "backward", recurrent_dropout, kernel)

    def call(
        self,
        x: tf.Tensor,
        context: StepContext | None = None,
        lengths: tf.Tensor | None = None,
        state: RecurrentState | None = None,
    ) -> tuple[tf.Tensor, RecurrentState]:
        """Maps `x: [B, T, D]` to outputs [B, T, 2H] and the final states of both directions."""
        ahead, back = (None, None) if state is None else state
        outputs, ahead = self.ahead(x, context=context, lengths=lengths, state=ahead)
        reverse, back = self.back(_reversed(x, lengths), context=context, lengths=lengths, state=back)
        return tf.concat([outputs, _reversed(reverse, lengths)], axis=-1), (ahead, back)

    def zero_state(self, batch: int | tf.Tensor) -> RecurrentState:
        return self.ahead.zero_state(batch), self.back.zero_state(batch)


def _reversed(x: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """The valid steps of `x: [B, T, D]` in reverse; what follows them stays where it is."""
    return tf.reverse(x, [1]) if lengths is None else tf.reverse_sequence(x, lengths, seq_axis=1)


class RecurrentStack(Layer):
    """Recurrent layers, one on another.

    Noise is dropped out of the input of every layer but the first. With `layer_norm` the output of every layer is
    normalised (Ba et al. 2016, between layers, not between steps); with `residual` every layer but the first then adds
    its input.
    """

    def __init__(
        self,
        cell: str,
        num_layers: int,
        units: int,
        dropout_rate: float,
        dtype: str,
        name: str = "recurrent",
        *,
        recurrent_dropout: float = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
        bidirectional: bool = False,
        variational_dropout: bool = False,
        kernel: str = "auto",
    ):
        super().__init__(name=name, dtype=dtype)
        self._rate, self._same, self._residual = dropout_rate, variational_dropout, residual
        # Its variance is taken in float32 whatever the policy computes in.
        self._norms = [
            keras.layers.LayerNormalization(dtype=dtype, name=f"norm_{i}")
            for i in range(num_layers if layer_norm else 0)
        ]
        kind = Bidirectional if bidirectional else Recurrent
        self._stacked = [kind(cell, units, dtype, f"{cell}_{i}", recurrent_dropout, kernel) for i in range(num_layers)]

    @classmethod
    def of(
        cls,
        config: ModelFlags,
        dtype: str,
        name: str = "recurrent",
        *,
        bidirectional: bool = False,
        kernel: str = "auto",
    ) -> RecurrentStack:
        """The stack that a configuration describes."""
        return cls(
            config.cell,
            config.num_layers,
            config.units,
            config.dropout,
            dtype,
            name,
            recurrent_dropout=config.recurrent_dropout,
            residual=config.residual,
            layer_norm=config.layer_norm,
            bidirectional=bidirectional,
            variational_dropout=config.variational_dropout,
            kernel=kernel,
        )

    def run(
        self,
        x: tf.Tensor,
        *,
        context: StepContext | None = None,
        lengths: tf.Tensor | None = None,
        state: RecurrentState | None = None,
    ) -> tuple[tf.Tensor, RecurrentState]:
        """Runs all layers.

        Args:
          x: [B, T, D].
          noise: None stands for no dropout.
          lengths: valid steps of each row, [B] from 0 to T; None stands for T everywhere.
          state: what an earlier call gave, or `zero_state`; None stands for zeros.

        Returns:
          Outputs of the last layer [B, T, H] ([B, T, 2H] for both directions), 0 past the end of a row, and the state
          of every layer after each row's last valid step.
        """
        outputs, last = self(x, context=context, lengths=lengths, state=state, return_state=True)
        return outputs, last

    def call(
        self,
        x: tf.Tensor,
        context: StepContext | None = None,
        lengths: tf.Tensor | None = None,
        state: RecurrentState | None = None,
        return_state: bool = False,
    ) -> Any:
        """Maps `x: [B, T, D]` to the outputs of the last layer, [B, T, H]; see `run`."""
        last = []
        for index, layer in enumerate(self._stacked):
            below = dropout(x, self._rate, context, f"{self.name}/{index}", self._same) if index else x
            above, reached = layer(
                below, context=context, lengths=lengths, state=None if state is None else state[index]
            )
            if self._norms:
                above = self._norms[index](above)
            x = x + above if index and self._residual else above
            last.append(reached)
        return (x, tuple(last)) if return_state else x

    def zero_state(self, batch: int | tf.Tensor) -> RecurrentState:
        """The state of every layer at the start of a sequence."""
        return tuple(layer.zero_state(batch) for layer in self._stacked)

"""LSTM and GRU over whole sequences for CPUs, with the gradient written by hand.

Automatic differentiation forms the weights' gradient at every step; here the backward loop gives the gates' gradients
only, and one product over all steps gives the weights'. Letters: B batch, T time, D features, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.nn import cpu_gru, cpu_lstm
from trainer.nn.cpu_plan import plan_for
from trainer.nn.scan import accumulator

Gradient = Callable[..., Any]


def lstm(
    x: tf.Tensor,
    lengths: tf.Tensor | None,
    h0: tf.Tensor,
    c0: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    custom_gradient: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs an LSTM over `x`.

    Args:
      x: [B, T, D].
      lengths: valid steps of each row, [B] int32 from 0 to T; None stands for T everywhere.
      h0, c0: initial state, twice [B, H].
      kernel: [D, 4H], gates i, f, c, o.
      recurrent_kernel: [H, 4H].
      bias: [4H].
      custom_gradient: False leaves the gradient to TensorFlow (slower): a SavedModel cannot hold ours.

    Returns:
      Outputs [B, T, H], 0 past the end of a row, and the state after each row's last valid step, twice [B, H].
    """
    plan = plan_for(x, recurrent_kernel.shape[0], custom_gradient)

    def run(x: tf.Tensor, lengths: tf.Tensor | None, h0: tf.Tensor, c0: tf.Tensor) -> tuple[tf.Tensor, ...]:
        mask = _time_major_mask(x, lengths)
        arguments = (_project(x, mask, kernel, bias), h0, c0, recurrent_kernel)
        recurrence = _lstm_recurrence(lengths, mask, plan.compiled)
        outputs, h, c = tf.custom_gradient(recurrence)(*arguments) if custom_gradient else recurrence(*arguments)[0]
        return tf.transpose(outputs, [1, 0, 2]), h, c

    outputs, h, c = _in_parts(run, plan.parts, x, lengths, h0, c0)
    return outputs, h, c


def gru(
    x: tf.Tensor,
    lengths: tf.Tensor | None,
    h0: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    custom_gradient: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a GRU over `x`.

    Args:
      x: [B, T, D].
      lengths: valid steps of each row, [B] int32 from 0 to T; None stands for T everywhere.
      h0: initial state, [B, H].
      kernel: [D, 3H], gates z, r, h.
      recurrent_kernel: [H, 3H].
      bias: of the input products and of the recurrent ones, [2, 3H].
      custom_gradient: see `lstm`.

    Returns:
      Outputs [B, T, H], 0 past the end of a row, and the state after each row's last valid step, [B, H].
    """
    plan = plan_for(x, recurrent_kernel.shape[0], custom_gradient)

    def run(x: tf.Tensor, lengths: tf.Tensor | None, h0: tf.Tensor) -> tuple[tf.Tensor, ...]:
        mask = _time_major_mask(x, lengths)
        arguments = (_project(x, mask, kernel, bias[0]), h0, recurrent_kernel, bias[1])
        recurrence = _gru_recurrence(lengths, mask, plan.compiled)
        outputs, h = tf.custom_gradient(recurrence)(*arguments) if custom_gradient else recurrence(*arguments)[0]
        return tf.transpose(outputs, [1, 0, 2]), h

    outputs, h = _in_parts(run, plan.parts, x, lengths, h0)
    return outputs, h


def _in_parts(
    run: Callable[..., tuple[tf.Tensor, ...]], count: int, *arguments: tf.Tensor | None
) -> tuple[tf.Tensor, ...]:
    """Runs `run` on `count` equal shares of the rows of its arguments, side by side, and joins what comes out."""
    if count == 1:
        return run(*arguments)
    shares = zip(*([None] * count if argument is None else tf.split(argument, count) for argument in arguments))
    return tuple(tf.concat(pieces, axis=0) for pieces in zip(*(run(*share) for share in shares)))


def _lstm_recurrence(
    lengths: tf.Tensor | None, mask: tf.Tensor | None, compiled: bool
) -> Callable[..., tuple[Any, Gradient]]:
    """The loop as a function of its differentiable arguments that gives results and their gradient."""

    def recurrence(
        projected: tf.Tensor, h0: tf.Tensor, c0: tf.Tensor, recurrent_kernel: tf.Tensor
    ) -> tuple[Any, Gradient]:
        wide = accumulator(projected.dtype)
        forward: Callable[..., Any] = cpu_lstm.compiled_forward if compiled else cpu_lstm.forward
        backward = cpu_lstm.compiled_backward if compiled else cpu_lstm.backward
        outputs, c, kept = forward(projected, h0, tf.cast(c0, wide), recurrent_kernel)
        outputs, h = _finish(outputs, mask, lengths, h0)
        if lengths is not None:
            before = kept[1] if compiled else kept.cells.stack()
            c = _state_at_end(tf.concat([before[1:], c[None]], axis=0), lengths, tf.cast(c0, wide))

        def gradient(d_outputs: tf.Tensor, d_h: tf.Tensor, d_c: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_outputs = _zero_past_end(d_outputs, mask)
            d_h, d_c = tf.cast(d_h, wide), tf.cast(d_c, wide)
            d_z, d_h, d_c = backward(d_outputs, d_h, d_c, lengths, recurrent_kernel, kept=kept)
            return d_z, tf.cast(d_h, h0.dtype), tf.cast(d_c, c0.dtype), _weights_gradient(_before(outputs, h0), d_z)

        return (outputs, h, tf.cast(c, c0.dtype)), gradient

    return recurrence


def _gru_recurrence(
    lengths: tf.Tensor | None, mask: tf.Tensor | None, compiled: bool
) -> Callable[..., tuple[Any, Gradient]]:
    """The loop as a function of its differentiable arguments that gives results and their gradient."""

    def recurrence(
        projected: tf.Tensor, h0: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[Any, Gradient]:
        forward = cpu_gru.compiled_forward if compiled else cpu_gru.forward
        backward = cpu_gru.compiled_backward if compiled else cpu_gru.backward
        outputs, kept = forward(projected, h0, recurrent_kernel, bias)
        outputs, h = _finish(outputs, mask, lengths, h0)

        def gradient(d_outputs: tf.Tensor, d_h: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_outputs = _zero_past_end(d_outputs, mask)
            before = _before(outputs, h0)
            d_h = tf.cast(d_h, accumulator(h0.dtype))
            d_x, d_product, d_h = backward(d_outputs, d_h, lengths, before, recurrent_kernel, kept=kept)
            d_bias = tf.raw_ops.BiasAddGrad(out_backprop=d_product)
            return d_x, tf.cast(d_h, h0.dtype), _weights_gradient(before, d_product), d_bias

        return (outputs, h), gradient

    return recurrence


def _time_major_mask(x: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor | None:
    """Which steps are valid, [T, B, 1], or None where all are."""
    if lengths is None:
        return None
    return (tf.range(tf.shape(x)[1])[:, None] < lengths[None])[:, :, None]


def _zero_past_end(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    return (
        x if mask is None else tf.where(mask, x, tf.zeros([], x.dtype))
    )  # not a product: padding may be anything, NaN too


def _project(x: tf.Tensor, mask: tf.Tensor | None, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Products of all steps' inputs at once: [B, T, D] -> [T, B, N]."""
    rows = _zero_past_end(tf.transpose(x, [1, 0, 2]), mask)
    product = tf.matmul(tf.reshape(rows, [-1, x.shape[2]]), kernel)
    projected = tf.reshape(tf.nn.bias_add(product, bias), [tf.shape(x)[1], tf.shape(x)[0], kernel.shape[1]])
    projected.set_shape([x.shape[1], x.shape[0], kernel.shape[1]])
    return projected


def _finish(
    outputs: tf.Tensor, mask: tf.Tensor | None, lengths: tf.Tensor | None, h0: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Outputs without what follows the end of each row, and the final state. The loops run on past it, on zeros: that
    is harmless.
    """
    if lengths is None:
        return outputs, outputs[-1]
    return _zero_past_end(outputs, mask), _state_at_end(outputs, lengths, h0)


def _state_at_end(states: tf.Tensor, lengths: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
    """The state after `lengths` steps: [T, B, H], [B], [B, H] -> [B, H]."""
    places = tf.stack([tf.maximum(lengths - 1, 0), tf.range(tf.shape(lengths)[0])], axis=1)
    return tf.where((lengths > 0)[:, None], tf.gather_nd(states, places), first)


def _before(outputs: tf.Tensor, h0: tf.Tensor) -> tf.Tensor:
    """The state before each step, [T, B, H]."""
    return tf.concat([h0[None], outputs[:-1]], axis=0)


def _weights_gradient(inputs: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Sum of the outer products over all steps and rows: [T, B, M], [T, B, N] -> [M, N]."""
    return tf.matmul(
        tf.reshape(inputs, [-1, inputs.shape[2]]), tf.reshape(gradients, [-1, gradients.shape[2]]), transpose_a=True
    )

"""The LSTM's loops over time for CPUs: forward keeps the gates, backward gives the gates' gradients.

Letters: B batch, T time, H hidden. Gates stand in Keras' order: input i, forget f, candidate g (Keras' c), output o.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from trainer.nn.scan import Steps, accumulator, elements, length_of, scan


class Kept(NamedTuple):
    """Values that the backward loop reads: per step the gates [B, 4H], the cell state before [B, H], and the tanh of
    the one after [B, H].
    """

    gates: Steps
    cells: Steps
    squashed: Steps


def forward(
    projected: tf.Tensor, h: tf.Tensor, c: tf.Tensor, recurrent_kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, Kept]:
    """Runs the cell (Hochreiter and Schmidhuber 1997, with Gers' forget gate) over all steps.

    Args:
      projected: input products with the bias, [T, B, 4H].
      h, c: initial state, twice [B, H]; `c` in the accumulator's type.
      recurrent_kernel: [H, 4H].

    Returns:
      Outputs [T, B, H], the last cell state [B, H], and what `backward` wants.
    """
    steps, wide = length_of(projected), accumulator(projected.dtype)
    rows = elements(projected)

    def step(t: tf.Tensor, state: tuple[tf.Tensor, ...], out: list[Steps]) -> tuple[tuple[tf.Tensor, ...], list[Steps]]:
        h, before = state
        z = tf.cast(rows.read(t), wide) + tf.cast(tf.matmul(h, recurrent_kernel), wide)
        i, f, g, o = tf.split(z, 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c = f * before + i * g
        squashed = tf.tanh(c)
        h = tf.cast(o * squashed, h.dtype)
        values = (h, tf.cast(tf.concat([i, f, g, o], axis=1), h.dtype), before, tf.cast(squashed, h.dtype))
        return (h, c), [array.write(t, value) for array, value in zip(out, values)]

    size = h.shape[1]
    kinds = [(h.dtype, size), (h.dtype, 4 * size), (wide, size), (h.dtype, size)]
    (_, c), (outputs, *kept) = scan(steps, step, (h, c), kinds, h.shape[0])
    return outputs.stack(), c, Kept(*kept)


def backward(
    d_outputs: tf.Tensor,
    d_h: tf.Tensor,
    d_c: tf.Tensor,
    lengths: tf.Tensor | None,
    recurrent_kernel: tf.Tensor,
    *,
    kept: Kept,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs the gates' gradients back over all steps; weight gradients are products of what comes out.

    Args:
      d_outputs: [T, B, H], 0 past the end of a row.
      d_h, d_c: gradients of the final state, twice [B, H] in the accumulator's type.
      lengths: [B], or None where all rows have T steps.
      recurrent_kernel: [H, 4H].

    Returns:
      Gradients of the projected inputs [T, B, 4H] and of the initial state, twice [B, H].
    """
    steps, wide, narrow = length_of(d_outputs), accumulator(d_outputs.dtype), d_outputs.dtype
    rows = elements(d_outputs)
    transposed = tf.transpose(
        recurrent_kernel
    )  # once: a product with a transposed right side runs at a third of the speed
    last_h, last_c = d_h, d_c

    def step(s: tf.Tensor, state: tuple[tf.Tensor, ...], out: list[Steps]) -> tuple[tuple[tf.Tensor, ...], list[Steps]]:
        t = steps - 1 - s
        d_h, d_c = state
        if lengths is not None:  # a row's final state is born at its last valid step; later gradients are all 0
            is_last = (t == lengths - 1)[:, None]
            d_h, d_c = tf.where(is_last, last_h, d_h), tf.where(is_last, last_c, d_c)
        i, f, g, o = tf.split(tf.cast(kept.gates.read(t), wide), 4, axis=1)
        squashed = tf.cast(kept.squashed.read(t), wide)
        d_h += tf.cast(rows.read(t), wide)
        d_o = d_h * squashed * o * (1 - o)
        d_c += d_h * o * (1 - squashed * squashed)
        d_i = d_c * g * i * (1 - i)
        d_f = d_c * kept.cells.read(t) * f * (1 - f)
        d_g = d_c * i * (1 - g * g)
        d_z = tf.cast(tf.concat([d_i, d_f, d_g, d_o], axis=1), narrow)
        d_h = tf.cast(tf.matmul(d_z, transposed), wide)
        return (d_h, d_c * f), [out[0].write(t, d_z)]

    first = (d_h, d_c) if lengths is None else (tf.zeros_like(d_h), tf.zeros_like(d_c))
    size = d_outputs.shape[2]
    (d_h, d_c), (gradients,) = scan(steps, step, first, [(narrow, 4 * size)], d_outputs.shape[1])
    if lengths is not None:
        empty = (lengths == 0)[:, None]
        d_h, d_c = tf.where(empty, last_h, d_h), tf.where(empty, last_c, d_c)
    return gradients.stack(), d_h, d_c


@tf.function(jit_compile=True, autograph=False)
def compiled_forward(
    projected: tf.Tensor, h: tf.Tensor, c: tf.Tensor, recurrent_kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """`forward` as one XLA program; what is kept comes as tensors, [T, B, N]."""
    outputs, c, kept = forward(projected, h, c, recurrent_kernel)
    return outputs, c, [array.stack() for array in kept]


@tf.function(jit_compile=True, autograph=False)
def compiled_backward(*arguments: Any, kept: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`backward` as one XLA program."""
    return backward(*arguments, kept=Kept(*map(elements, kept)))

"""The GRU's loops over time for CPUs: forward keeps the gates, backward gives the gates' gradients.

Letters: B batch, T time, H hidden. Gates stand in Keras' order: update z, reset r, candidate n (Keras' h).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from trainer.nn.scan import Steps, accumulator, elements, length_of, scan


class Kept(NamedTuple):
    """Values that the backward loop reads: per step the gates [B, 3H] and the candidate's recurrent product [B, H]."""

    gates: Steps
    products: Steps


def forward(
    projected: tf.Tensor, h: tf.Tensor, recurrent_kernel: tf.Tensor, recurrent_bias: tf.Tensor
) -> tuple[tf.Tensor, Kept]:
    """Runs the cell (Cho et al. 2014, reset after the product as in cuDNN) over all steps.

    Args:
      projected: input products with their bias, [T, B, 3H].
      h: initial state, [B, H].
      recurrent_kernel: [H, 3H].
      recurrent_bias: [3H].

    Returns:
      Outputs [T, B, H], and what `backward` wants.
    """
    steps, wide = length_of(projected), accumulator(projected.dtype)
    size = h.shape[1]
    rows = elements(projected)
    bias = tf.cast(recurrent_bias, wide)

    def step(t: tf.Tensor, state: tuple[tf.Tensor, ...], out: list[Steps]) -> tuple[tuple[tf.Tensor, ...], list[Steps]]:
        (h,) = state
        x = tf.cast(rows.read(t), wide)
        recurrent = tf.cast(tf.matmul(h, recurrent_kernel), wide) + bias
        z, r = tf.split(tf.sigmoid(x[:, : 2 * size] + recurrent[:, : 2 * size]), 2, axis=1)
        kept = recurrent[:, 2 * size :]
        n = tf.tanh(x[:, 2 * size :] + r * kept)
        new = tf.cast(n + z * (tf.cast(h, wide) - n), h.dtype)
        values = (new, tf.cast(tf.concat([z, r, n], axis=1), h.dtype), tf.cast(kept, h.dtype))
        return (new,), [array.write(t, value) for array, value in zip(out, values)]

    kinds = [(h.dtype, size), (h.dtype, 3 * size), (h.dtype, size)]
    _, (outputs, *kept) = scan(steps, step, (h,), kinds, h.shape[0])
    return outputs.stack(), Kept(*kept)


def backward(
    d_outputs: tf.Tensor,
    d_h: tf.Tensor,
    lengths: tf.Tensor | None,
    before: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    *,
    kept: Kept,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs the gates' gradients back over all steps; weight gradients are products of what comes out.

    Args:
      d_outputs: [T, B, H], 0 past the end of a row.
      d_h: gradient of the final state, [B, H] in the accumulator's type.
      lengths: [B], or None where all rows have T steps.
      before: the state before each step, [T, B, H].
      recurrent_kernel: [H, 3H].

    Returns:
      Gradients of the projected inputs [T, B, 3H], of the recurrent products [T, B, 3H] and of the initial state [B,
      H].
    """
    steps, wide, narrow = length_of(d_outputs), accumulator(d_outputs.dtype), d_outputs.dtype
    rows, states = elements(d_outputs), elements(before)
    transposed = tf.transpose(
        recurrent_kernel
    )  # once: a product with a transposed right side runs at a third of the speed
    last_h = d_h

    def step(s: tf.Tensor, state: tuple[tf.Tensor, ...], out: list[Steps]) -> tuple[tuple[tf.Tensor, ...], list[Steps]]:
        t = steps - 1 - s
        (d_h,) = state
        if lengths is not None:  # a row's final state is born at its last valid step; later gradients are all 0
            d_h = tf.where((t == lengths - 1)[:, None], last_h, d_h)
        z, r, n = tf.split(tf.cast(kept.gates.read(t), wide), 3, axis=1)
        d_h += tf.cast(rows.read(t), wide)
        d_n = d_h * (1 - z) * (1 - n * n)
        d_z = d_h * (tf.cast(states.read(t), wide) - n) * z * (1 - z)
        d_r = d_n * tf.cast(kept.products.read(t), wide) * r * (1 - r)
        d_product = tf.cast(tf.concat([d_z, d_r, d_n * r], axis=1), narrow)
        d_x = tf.cast(tf.concat([d_z, d_r, d_n], axis=1), narrow)
        d_h = d_h * z + tf.cast(tf.matmul(d_product, transposed), wide)
        return (d_h,), [out[0].write(t, d_x), out[1].write(t, d_product)]

    size = d_outputs.shape[2]
    first = d_h if lengths is None else tf.zeros_like(d_h)
    (d_h,), (d_x, d_product) = scan(steps, step, (first,), [(narrow, 3 * size)] * 2, d_outputs.shape[1])
    if lengths is not None:
        d_h = tf.where((lengths == 0)[:, None], last_h, d_h)
    return d_x.stack(), d_product.stack(), d_h


@tf.function(jit_compile=True, autograph=False)
def compiled_forward(
    projected: tf.Tensor, h: tf.Tensor, recurrent_kernel: tf.Tensor, recurrent_bias: tf.Tensor
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """`forward` as one XLA program; what is kept comes as tensors, [T, B, N]."""
    outputs, kept = forward(projected, h, recurrent_kernel, recurrent_bias)
    return outputs, [array.stack() for array in kept]


@tf.function(jit_compile=True, autograph=False)
def compiled_backward(*arguments: Any, kept: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`backward` as one XLA program."""
    return backward(*arguments, kept=Kept(*map(elements, kept)))

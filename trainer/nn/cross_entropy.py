"""Cross entropy of an output layer with label smoothing. Letters: N tokens, E width of the layer's input, V vocabulary.

The layer's gradient is known as soon as the loss is, so both come from one look at the logits. On CPUs XLA compiles
that look (`docs/decisions/measured_choices.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

ROW_MULTIPLE = 64  # XLA compiles a program for each N, so rows are filled up


def smoothed_cross_entropy(
    outputs: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, smoothing: float
) -> tf.Tensor:
    """Sum over the tokens of the cross entropy with (1 - smoothing) at the label plus smoothing / V everywhere (Szegedy
    et al. 2016).

    Args:
      outputs: [N, E], in the type that the products are computed in.
      matrix: [V, E] float32.
      bias: [V] float32.
      labels: [N] int32.
      weights: [N] float32, 0 for what does not count.
      smoothing: from 0 to below 1.

    Returns:
      A float32 scalar, nats. It has a first gradient only, and none by `labels` and `weights`.
    """
    on_cpu = not tf.config.list_logical_devices("GPU")
    look = _compiled_look if on_cpu else _look
    if on_cpu and outputs.shape[0] is None:
        missing = -tf.shape(outputs)[0] % ROW_MULTIPLE
        outputs, labels, weights = (
            tf.pad(outputs, [[0, missing], [0, 0]]),
            tf.pad(labels, [[0, missing]]),
            tf.pad(weights, [[0, missing]]),
        )

    @tf.custom_gradient
    def loss(outputs: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        narrow = tf.cast(matrix, outputs.dtype)
        total, d_logits = look(tf.matmul(outputs, narrow, transpose_b=True), bias, labels, weights, smoothing)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            scale = tf.cast(upstream, outputs.dtype)
            d_outputs = tf.matmul(d_logits, narrow) * scale
            d_matrix = tf.matmul(d_logits, outputs * scale, transpose_a=True)
            d_bias = tf.raw_ops.BiasAddGrad(out_backprop=d_logits)
            return d_outputs, tf.cast(d_matrix, tf.float32), tf.cast(d_bias, tf.float32) * upstream

        return total, gradient

    return loss(outputs, matrix, bias)


def _look(
    products: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, smoothing: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss and its gradient by the logits `products + bias: [N, V]`, in the type of `products`."""
    logits = tf.cast(products, tf.float32) + bias
    shifted = logits - tf.reduce_max(logits, axis=1, keepdims=True)
    exponentials = tf.exp(shifted)
    mass = tf.reduce_sum(exponentials, axis=1, keepdims=True)
    size = logits.shape[1]
    aims = tf.one_hot(labels, size) * (1.0 - smoothing) + smoothing / size
    each = tf.math.log(mass[:, 0]) - tf.reduce_sum(aims * shifted, axis=1)
    d_logits = (exponentials / mass - aims) * weights[:, None]
    return tf.reduce_sum(each * weights), tf.cast(d_logits, products.dtype)


_compiled_look = tf.function(_look, jit_compile=True, autograph=False)

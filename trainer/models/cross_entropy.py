"""Cross entropy of an output layer with label smoothing. Letters: N tokens, E width of the layer's input, V vocabulary."""

from __future__ import annotations

import tensorflow as tf


def smoothed_cross_entropy(
    outputs: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, smoothing: float
) -> tf.Tensor:
    """Sum over the tokens of the cross entropy with (1 - smoothing) at the label plus smoothing / V everywhere (Szegedy et al. 2016).

    The smoothed part is linear in the logits, so it is computed from the mean row of the matrix and never looks at all logits:
    `-sum_v q_v log p_v = -log p_label + smoothing * (logit_label - mean_v logit_v)`.

    Args:
      outputs: [N, E], in the type that the product is computed in.
      matrix: [V, E] float32.
      bias: [V] float32.
      labels: [N] int32.
      weights: [N] float32, 0 for what does not count.
      smoothing: from 0 to below 1.

    Returns:
      A float32 scalar, nats.
    """
    logits = tf.cast(tf.matmul(outputs, tf.cast(matrix, outputs.dtype), transpose_b=True), tf.float32) + bias
    total = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits) * weights)
    if smoothing:
        rows = tf.gather(matrix, labels) - tf.reduce_mean(matrix, axis=0)
        offsets = tf.gather(bias, labels) - tf.reduce_mean(bias)
        each = tf.reduce_sum(tf.cast(outputs, tf.float32) * rows, axis=1) + offsets
        total += smoothing * tf.reduce_sum(each * weights)
    return total

"""Momentum whose singular values are all set to about one: the Muon update (Jordan et al. 2024)."""

from __future__ import annotations

import tensorflow as tf

# Newton-Schulz iteration x -> ax + bx^3 + cx^5 on singular values, with coefficients that grow small ones fast (Jordan
# et al. 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95
UPDATE_RMS = 0.2  # of an update's entries, as Adam has them, so that one learning rate serves both (Liu et al. 2025)


def orthogonalized(matrices: tf.Tensor) -> tf.Tensor:
    """Singular values of each of `matrices: [G, M, N]` brought to between 0.7 and 1.2, but those that are next to
    nothing.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = tf.transpose(matrices, [0, 2, 1]) if tall else matrices
    x /= tf.norm(x, axis=(1, 2), keepdims=True) + 1e-12  # so that none is above 1
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    return tf.transpose(x, [0, 2, 1]) if tall else x


def muon_direction(gradient: tf.Tensor, momentum: tf.Variable, blocks: int) -> tf.Tensor:
    """The update of a matrix, to be subtracted times the learning rate.

    Args:
      gradient: [M, blocks * N]; the matrices of a layer's gates stand side by side and are taken one by one.
      momentum: of the same shape; updated (Nesterov's).
      blocks: how many matrices there are.

    Returns:
      [M, blocks * N], entries of root mean square about `UPDATE_RMS`.
    """
    average = momentum.assign(momentum * MOMENTUM + gradient)
    rows, columns = gradient.shape[0], gradient.shape[1] // blocks
    parts = tf.transpose(tf.reshape(gradient + MOMENTUM * average, [rows, blocks, columns]), [1, 0, 2])
    update = tf.transpose(orthogonalized(parts), [1, 0, 2])
    return tf.reshape(update, gradient.shape) * (UPDATE_RMS * max(rows, columns) ** 0.5)

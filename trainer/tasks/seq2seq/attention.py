"""Attention over an encoder's outputs: for all target steps at once, or for one.

Letters: B batch, T target steps, S source steps, Q width of a query, M width of the memory, A width in which both are
compared.
"""

from __future__ import annotations

import keras
import tensorflow as tf

KINDS = ("luong_general", "luong_scaled", "bahdanau", "bahdanau_normalized")


class Attention(keras.layers.Layer):
    """Weights source steps by how well they fit a query, and gives their weighted mean.

    `luong_general`: score = q W m (Luong et al. 2015). `luong_scaled`: the same times a learned factor. `bahdanau`: v
    tanh(q W + m U) (Bahdanau et al. 2015). `bahdanau_normalized`: the same with a bias, and v of a learned length
    (Salimans and Kingma 2016). Scores and weights are float32 whatever the products are in. Padding gets a weight of
    exactly 0.
    """

    def __init__(self, kind: str, query_size: int, memory_size: int, dtype: str, name: str = "attention"):
        super().__init__(name=name, dtype=dtype, autocast=False)
        if kind not in KINDS:
            raise ValueError(f"attention {kind!r} is not one of {KINDS}")
        self.kind, self._additive = kind, kind.startswith("bahdanau")
        self._memory_kernel = self.add_weight((memory_size, query_size), "glorot_uniform", name="memory_kernel")
        if kind == "luong_scaled":
            self._scale = self.add_weight((), keras.initializers.Constant(query_size**-0.5), name="scale")
        if self._additive:
            self._query_kernel = self.add_weight((query_size, query_size), "glorot_uniform", name="query_kernel")
            spread = keras.initializers.RandomUniform(-(query_size**-0.5), query_size**-0.5)
            self._vector = self.add_weight((query_size,), spread, name="vector")
        if kind == "bahdanau_normalized":
            self._bias = self.add_weight((query_size,), "zeros", name="bias")
            self._length = self.add_weight((), keras.initializers.Constant(query_size**-0.5), name="length")

    def keys(self, memory: tf.Tensor) -> tf.Tensor:
        """The keys that queries are compared with, computed once a source: [B, S, M] -> [B, S, A]."""
        return product(memory, self._in_policy(self._memory_kernel))

    def call(
        self, queries: tf.Tensor, keys: tf.Tensor, memory: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attends for all queries at once.

        Args:
          queries: [B, T, Q].
          keys: what `keys(memory)` gave, [B, S, A].
          memory: [B, S, M], finite in the padding too.
          mask: [B, S] bool, False for padding; at least one True a row.

        Returns:
          Contexts [B, T, M] and weights [B, T, S] float32, which add up to 1 over S.
        """
        scores = self._additive_scores(queries, keys) if self._additive else self._product_scores(queries, keys)
        weights = tf.nn.softmax(tf.where(mask[:, None], scores, tf.float32.min))
        return tf.matmul(tf.cast(weights, memory.dtype), memory), weights

    def _product_scores(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        scores = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32)
        return scores * float32(self._scale) if self.kind == "luong_scaled" else scores

    def _additive_scores(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        queries = product(queries, self._in_policy(self._query_kernel))
        vector = float32(self._vector)
        if self.kind == "bahdanau_normalized":
            queries += self._in_policy(self._bias)
            vector = vector * (float32(self._length) * tf.math.rsqrt(tf.reduce_sum(tf.square(vector))))
        hidden = tf.tanh(queries[:, :, None] + keys[:, None])  # [B, T, S, A]
        return tf.cast(product(hidden, tf.cast(vector, hidden.dtype)[:, None])[..., 0], tf.float32)

    def _in_policy(self, weight: keras.Variable) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(weight), self.compute_dtype)


def float32(weight: keras.Variable) -> tf.Tensor:
    """A weight as it is stored, whatever a surrounding layer computes in."""
    return tf.cast(tf.convert_to_tensor(weight), tf.float32)


def product(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """`x: [..., M]` times `matrix: [M, N]` as one product over all rows, [..., N]."""
    flat = tf.matmul(tf.reshape(x, [-1, matrix.shape[0]]), matrix)
    result = tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [matrix.shape[1]]], axis=0))
    result.set_shape([*x.shape[:-1], matrix.shape[1]])
    return result

"""Embeddings of the last two, three, ... tokens, added to that of the last one: what a recurrent layer would have to
remember first.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.nn.layer import Layer
from trainer.nn.step_context import StepContext, dropout

_MULTIPLIER, _SHIFT = 0x9E3779B97F4A7C15 - 2**64, 29  # of Fibonacci hashing (Knuth 1998, 6.4), as a signed number


def ngram_rows(tokens: tf.Tensor, order: int, vocabulary: int, rows: int) -> tf.Tensor:
    """The table row of every n-gram of `order` tokens.

    Args:
      tokens: [B, T + order - 1] int32; n-gram `t` is made of tokens `t` to `t + order - 1`.
      order: tokens of an n-gram.
      vocabulary: number of token ids.
      rows: of the table; where it has room for all n-grams, each has a row of its own, else they share rows by a hash.

    Returns:
      [B, T] int64.
    """
    length = tf.shape(tokens)[1] - (order - 1)
    wide = tf.cast(tokens, tf.int64)
    key = wide[:, :length]
    for place in range(1, order):
        key = key * vocabulary + wide[:, place : place + length]
    if vocabulary**order <= rows:
        return key
    mixed = key * _MULTIPLIER  # wraps round
    return tf.math.floormod(tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, _SHIFT)), rows)


class NgramEmbedding(Layer):
    """Sums of the embeddings of the 2-gram, 3-gram, ... that end at each token.

    One table an order, n-grams that meet in a row share it (hashed n-grams: Bojanowski et al. 2017; in front of a
    sequence model: Pagnoni et al. 2024). What comes before the first token is padding.
    """

    def __init__(self, vocabulary: int, order: int, rows: int, size: int, rate: float, dtype: str):
        """Takes the number of ids, the longest n-gram (2 or more), the largest number of rows a table, the width of the
        embedding, and the share of n-grams that are dropped, each order by itself: rare ones are learnt by heart
        otherwise.
        """
        super().__init__(name="ngrams", dtype=dtype)
        self._vocabulary, self._rows, self._rate, self.order = vocabulary, rows, rate, order
        scale = keras.initializers.RandomUniform(-0.5 * size**-0.5, 0.5 * size**-0.5)
        self._tables = [
            keras.layers.Embedding(
                min(rows, vocabulary**length), size, embeddings_initializer=scale, dtype=dtype, name=f"ngram_{length}"
            )
            for length in range(2, order + 1)
        ]

    def call(self, tokens: tf.Tensor, history: tf.Tensor, context: StepContext | None = None) -> tf.Tensor:
        """Maps `tokens: [B, T]` int32 after `history: [B, order - 1]` int32 to [B, T, size]."""
        known = tf.concat([history, tokens], axis=1)
        every = tf.ones_like(tokens, self.compute_dtype)[:, :, None]
        embedded = []
        for length, table in enumerate(self._tables, start=2):
            rows = ngram_rows(known[:, self.order - length :], length, self._vocabulary, self._rows)
            embedded.append(table(rows) * dropout(every, self._rate, context, table.name))
        return tf.add_n(embedded)

    def next_history(self, tokens: tf.Tensor, history: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
        """The last `order - 1` valid tokens of each row, for the next call, [B, order - 1] int32."""
        known, kept = tf.concat([history, tokens], axis=1), self.order - 1
        last = (
            known[:, -kept:] if lengths is None else tf.gather(known, lengths[:, None] + tf.range(kept), batch_dims=1)
        )
        return tf.ensure_shape(last, [None, kept])  # loops over single tokens want it known, whatever T is

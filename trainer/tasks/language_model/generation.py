"""Text generation with a recurrent language model, token by token, as graph ops."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainer.text.sampling import Sampling, sample

LanguageState = Any


def generate(
    model: keras.Model, logits: tf.Tensor, state: LanguageState, limit: tf.Tensor, sampling: Sampling, stop: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Goes on from logits and state until each row has `limit` tokens or the stop token.

    Args:
      model: as `LanguageModel`.
      logits: [B, V], of the first new token.
      state: of the stack.
      limit: [B] int32, most new tokens.
      sampling: how tokens are chosen.
      stop: id of the stop token, which is not part of the result.

    Returns:
      Tokens [B, N] int32, filled up with 0, and their numbers [B] int32; N is the longest row.
    """
    longest = tf.maximum(
        tf.reduce_max(limit), 1
    )  # one step where there are no rows: TensorFlow cannot stack an empty list
    written = tf.TensorArray(tf.int32, size=longest, element_shape=[None])

    def goes_on(step: tf.Tensor, live: tf.Tensor, *_: Any) -> tf.Tensor:
        return tf.logical_and(step < longest, tf.logical_or(step == 0, tf.reduce_any(live)))

    def take(
        step: tf.Tensor,
        live: tf.Tensor,
        count: tf.Tensor,
        logits: tf.Tensor,
        state: LanguageState,
        written: tf.TensorArray,
    ) -> Any:
        position = tf.fill(tf.shape(limit), tf.cast(step, tf.int64))
        token = sample(logits, sampling, position)
        live = tf.logical_and(live, tf.not_equal(token, stop))
        written = written.write(step, tf.where(live, token, 0))
        count += tf.cast(live, tf.int32)
        live = tf.logical_and(live, count < limit)
        following, state = model(token[:, None], state=state)
        return step + 1, live, count, following[:, 0], state, written

    start = (tf.constant(0), limit > 0, tf.zeros_like(limit), logits, state, written)
    steps, _, count, _, _, written = tf.while_loop(goes_on, take, start, parallel_iterations=1)
    tokens = tf.transpose(written.stack()[:steps])  # [B, N]
    return tokens, count

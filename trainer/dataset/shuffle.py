"""The order of training examples: a function of (seed, epoch) and a position, so that a restart needs only the step.

Epochs are not cut into batches one by one: examples form one endless stream, each run of `count` of them a permutation
of the split, and batches are taken from the stream. So every batch is full, and no example is dropped or repeated
within an epoch.
"""

from __future__ import annotations

import tensorflow as tf


def shuffled_index(position: tf.Tensor, count: int | tf.Tensor, seed: int) -> tf.Tensor:
    """The example at a position of the endless stream.

    Args:
      position: [...] int64, from 0.
      count: examples in the split (a number or a scalar int64).
      seed: with the epoch it picks the permutation.

    Returns:
      [...] int64 in [0, count): over positions [e * count, (e + 1) * count) each index once (a block cipher on
      the index, which needs no memory).
    """
    flat = tf.reshape(position, [-1])
    epoch = flat // count
    seeds = tf.stack([tf.fill(tf.shape(flat), tf.constant(seed, tf.int64)), epoch, tf.zeros_like(flat)], axis=-1)
    highest = tf.fill(tf.shape(flat), tf.cast(count - 1, tf.int64))
    # The public wrapper of this op adds a word to the seed that the kernel then refuses (TensorFlow 2.21).
    shuffled = tf.raw_ops.RandomIndexShuffle(
        index=flat % count, seed=tf.cast(seeds % (2**31), tf.int32), max_index=highest, rounds=16
    )
    return tf.reshape(shuffled, tf.shape(position))

"""Choosing the next token from logits, in the graph; a row's choice depends on its own seed and position alone."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Sampling:
    """How each row samples.

    `temperature: [B]` float32 (0 takes the likeliest token), `top_k: [B]` int32 (0 is not a limit), `top_p: [B]`
    float32 (1 is not a limit; Holtzman et al. 2020: the smallest set of likeliest tokens whose probability reaches it),
    `seed: [B]` int64.
    """

    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor
    seed: tf.Tensor


def uniform(seed: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Numbers in [0, 1) from seeds and positions (both [B] int64), [B] float32: MurmurHash3's 32-bit finaliser
    (Appleby), thrice.

    TensorFlow's stateless generators take one seed a call, and rows have seeds of their own.
    """
    bits = _mixed(seed & _MASK)
    bits = _mixed(bits ^ (tf.bitwise.right_shift(seed, tf.constant(32, tf.int64)) & _MASK) ^ 0x9E3779B9)
    bits = _mixed(bits + position)
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.int64)), tf.float32) / 2.0**24


def _mixed(bits: tf.Tensor) -> tf.Tensor:
    """32 bits in int64, mixed: products wrap around, and only their low half is kept."""
    bits &= _MASK
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = ((bits ^ tf.bitwise.right_shift(bits, tf.constant(shift, tf.int64))) * factor) & _MASK
    return bits ^ tf.bitwise.right_shift(bits, tf.constant(16, tf.int64))


def sample(logits: tf.Tensor, sampling: Sampling, position: tf.Tensor) -> tf.Tensor:
    """The next token of each row.

    Args:
      logits: [B, V] float32.
      sampling: how.
      position: [B] int64, number of the token in its text; with the seed it picks the random number.

    Returns:
      [B] int32.
    """
    size = tf.shape(logits)[1]
    temperature = tf.where(sampling.temperature > 0, sampling.temperature, 1.0)
    values, ids = tf.math.top_k(logits / temperature[:, None], k=size)  # falling
    probabilities = tf.nn.softmax(values)
    reached = tf.cumsum(probabilities, axis=1, exclusive=True)  # mass of the likelier ones
    rank = tf.range(size)[None]
    limit = tf.where(sampling.top_k > 0, sampling.top_k, size)
    limit = tf.where(sampling.temperature > 0, limit, 1)
    kept = tf.logical_and(rank < limit[:, None], tf.logical_or(reached < sampling.top_p[:, None], rank == 0))
    mass = tf.where(kept, probabilities, 0.0)
    upto = tf.cumsum(mass, axis=1)
    aim = uniform(sampling.seed, position)[:, None] * upto[:, -1:]
    chosen = tf.reduce_sum(tf.cast(upto <= aim, tf.int32), axis=1)
    chosen = tf.minimum(chosen, tf.reduce_sum(tf.cast(kept, tf.int32), axis=1) - 1)  # rounding must not leave the set
    return tf.gather(ids, chosen, batch_dims=1)

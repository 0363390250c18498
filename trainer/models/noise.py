"""Noise as a function of (seed, step, replica): the same in every run and on every device, different on every replica."""

from __future__ import annotations

import zlib

import tensorflow as tf

ALGORITHM = "philox"  # the same numbers on CPU and GPU


class Noise:
    """A key for stateless random ops, `key: [2]` int32; `None` stands for no noise (inference)."""

    def __init__(self, key: tf.Tensor):
        self.key = key

    @classmethod
    def of(cls, seed: int, step: tf.Tensor, replica: tf.Tensor) -> Noise:
        key = tf.random.fold_in(tf.constant([seed % 2**31, 0x5EED], tf.int32), tf.cast(step, tf.int32), ALGORITHM)
        return cls(tf.random.fold_in(key, tf.cast(replica, tf.int32), ALGORITHM))

    def named(self, name: str) -> tf.Tensor:
        """A key of its own for one place in the model."""
        return tf.random.fold_in(self.key, tf.constant(zlib.crc32(name.encode()) % 2**31, tf.int32), ALGORITHM)


def dropout(x: tf.Tensor, rate: float, noise: Noise | None, name: str, same_over_time: bool = False) -> tf.Tensor:
    """Sets a share `rate` of `x` to 0 and scales the rest up (Srivastava et al. 2014); without noise gives `x` back.

    `same_over_time` drops the same units of a row at all time steps of `x: [B, T, D]` (Gal and Ghahramani 2016).
    """
    if noise is None or rate == 0.0:
        return x
    if same_over_time:
        return x * dropout(tf.ones([tf.shape(x)[0], 1, x.shape[2]], x.dtype), rate, noise, name)
    return tf.nn.experimental.stateless_dropout(x, rate, noise.named(name), rng_alg=ALGORITHM)

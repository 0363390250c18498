"""Checks of requests, in the graph: what is nonsense or above a limit is refused with a line that tells the input, its
value and the limit.

A refusal is an InvalidArgumentError. What is computed from a checked tensor waits for the check, so that nothing large
is begun in vain.
"""

from __future__ import annotations

import tensorflow as tf

from trainer.text.sampling import Sampling

SHOWN = 3  # values that a refusal tells at most


def checked(x: tf.Tensor, good: tf.Tensor, rule: str) -> tf.Tensor:
    """`x`, once `good` (of its shape) is found to be True everywhere; else the request fails with `rule` and the first
    bad values.
    """
    x, good = tf.convert_to_tensor(x), tf.convert_to_tensor(good)
    bad = tf.boolean_mask(tf.reshape(x, [-1]), tf.logical_not(tf.reshape(good, [-1])))[:SHOWN]
    values = tf.strings.reduce_join(tf.strings.as_string(bad, shortest=x.dtype.is_floating), separator=", ")
    return _once(x, tf.reduce_all(good), rule, values)


def of_rows(x: tf.Tensor, others: tf.Tensor, name: str) -> tf.Tensor:
    """`x: [B, ...]`, once it has as many rows as `others`; TensorFlow would take a single row for all."""
    rows, requested = tf.shape(x)[0], tf.shape(others)[0]
    has = tf.strings.join([tf.strings.as_string(rows), " and ", tf.strings.as_string(requested)])
    return _once(
        tf.convert_to_tensor(x), tf.equal(rows, requested), f"{name} must have as many rows as the other inputs", has
    )


def _once(x: tf.Tensor, good: tf.Tensor, rule: str, values: tf.Tensor) -> tf.Tensor:
    """`x`, once the scalar `good` is found to be True. The assertion gets strings only: TensorFlow then needs no branch
    around it.
    """
    assertion = tf.debugging.Assert(good, [f"{rule}; the request has", values])
    with tf.control_dependencies([] if assertion is None else [assertion]):  # None where ops run eagerly
        return tf.identity(x)


def at_least(x: tf.Tensor, smallest: int, name: str) -> tf.Tensor:
    return checked(x, x >= smallest, f"{name} must be {smallest} or more")


def within(x: tf.Tensor, smallest: int, largest: int, name: str) -> tf.Tensor:
    return checked(x, tf.logical_and(x >= smallest, x <= largest), f"{name} must be from {smallest} to {largest}")


def at_most_tokens(lengths: tf.Tensor, largest: int, name: str) -> tf.Tensor:
    """`lengths: [B]` of the texts of an input."""
    return checked(lengths, lengths <= largest, f"{name} must have at most {largest} tokens")


def finite(x: tf.Tensor, name: str) -> tf.Tensor:
    return checked(x, tf.math.is_finite(x), f"{name} must be numbers")


def checked_sampling(sampling: Sampling, others: tf.Tensor) -> Sampling:
    """The inputs of `SAMPLING_INPUTS`, none of them nonsense, as many rows as `others`; NaN is outside of every
    range.
    """
    temperature = of_rows(sampling.temperature, others, "temperature")
    top_k, top_p = of_rows(sampling.top_k, others, "top_k"), of_rows(sampling.top_p, others, "top_p")
    warm = tf.logical_and(temperature >= 0, tf.math.is_finite(temperature))
    share = tf.logical_and(top_p > 0, top_p <= 1)
    return Sampling(
        checked(temperature, warm, "temperature must be a number, 0 or more"),
        at_least(top_k, 0, "top_k"),
        checked(top_p, share, "top_p must be above 0 and at most 1"),
        at_least(of_rows(sampling.seed, others, "seed"), 0, "seed"),
    )

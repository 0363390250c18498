"""Batches of examples that a function cuts by their numbers: shuffled without end for training, in order for scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from trainer.dataset.shuffle import shuffled_index

Batch = dict[str, tf.Tensor]
Signature = Mapping[str, tf.TensorSpec]  # of a batch
Cut = Callable[[tf.Tensor, tf.Tensor], Batch]  # numbers [B] int64 and weights [B] float32 of examples -> a batch


def shuffled_batches(
    cut: Cut, count: int, signature: Signature, batch_size: int, first_step: int, seed: int, total_examples: int | None
) -> tf.data.Dataset:
    """Endless shuffled batches from `first_step` on.

    The order depends on (seed, step) only, and each of the `count` examples comes once an epoch. Examples after
    `total_examples` get weight 0, so that a run of whole epochs counts each equally often.
    """

    def make(step: tf.Tensor) -> Batch:
        position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        weight = tf.ones([batch_size]) if total_examples is None else tf.cast(position < total_examples, tf.float32)
        return cut(shuffled_index(position, count, seed), weight)

    return shaped_batches(tf.data.Dataset.range(first_step, 2**62), make, signature, prefetch=8)


def batches_in_order(cut: Cut, count: int, signature: Signature, batch_size: int) -> tf.data.Dataset:
    """Every example once, in order; the last batch is filled up with examples of weight 0."""

    def make(step: tf.Tensor) -> Batch:
        position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        return cut(tf.minimum(position, count - 1), tf.cast(position < count, tf.float32))

    return shaped_batches(tf.data.Dataset.range(-(-count // batch_size)), make, signature, prefetch=4)


def shaped_batches(
    steps: tf.data.Dataset, make: Callable[[tf.Tensor], Batch], signature: Signature, prefetch: int
) -> tf.data.Dataset:
    """The batches that `make` cuts for the steps, in order, with the static shapes of `signature`."""

    def shaped(step: tf.Tensor) -> Batch:
        batch = make(step)
        return {name: tf.ensure_shape(batch[name], spec.shape) for name, spec in signature.items()}

    return steps.map(shaped, num_parallel_calls=2, deterministic=True).prefetch(prefetch)

"""Tokens -> independent windows, each read from a zero state.

A document is a run of targets; its windows are consecutive, `T` targets each, the last one shorter (the rest has weight
0), so every target is in exactly one window. Where documents are apart, a document's first input is the start token and
its last target the end token: its first token is a target too. A stream is one document without these marks: its first
token is not a target.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.dataset.example_batches import batches_in_order, shuffled_batches
from trainer.dataset.special_tokens import END, START
from trainer.errors import DataError
from trainer.tasks.language_model.stateful_batches import Batch, batch_signature


class TokenWindows:
    """All windows of a split, numbered from 0 in the order of the text: `count` windows hold `targets` targets."""

    def __init__(self, tokens: np.ndarray, targets: np.ndarray, length: int):
        """Takes the documents one after the other.

        Args:
          tokens: [sum of (targets + 1)], for each document its inputs and the last target.
          targets: [D] int64, targets of each document.
          length: `T`, targets of a window.

        Raises:
          DataError: there is no target.
        """
        if not targets.sum():
            raise DataError("the split holds no token to predict; prepare more text")
        counts = -(-targets // length)
        self.length, self.count, self.targets = length, int(counts.sum()), int(targets.sum())
        ends = np.cumsum(counts)
        with tf.device("/cpu:0"):
            self._tokens = tf.constant(tokens)
            self._window_ends = tf.constant(ends, tf.int64)  # window numbers at which a document's windows end
            self._first_windows = tf.constant(ends - counts, tf.int64)
            self._bases = tf.constant(np.cumsum(targets + 1) - (targets + 1), tf.int64)  # a document's first token
            self._targets = tf.constant(targets, tf.int64)

    def batch(self, numbers: tf.Tensor, weight: tf.Tensor) -> Batch:
        """Cuts windows out.

        Args:
          numbers: [B] int64 in [0, count).
          weight: [B] float32, multiplied into `weight`; 0 for a window that only fills the batch up.

        Returns:
          As `batch_signature(B, T)` tells; `reset` is 1 everywhere, `tokens` and `targets` are 0 where the weight is.
        """
        document = tf.searchsorted(self._window_ends, numbers, side="right", out_type=tf.int64)
        first = (numbers - tf.gather(self._first_windows, document)) * self.length
        place = first[:, None] + tf.range(self.length + 1, dtype=tf.int64)  # [B, T + 1], in the document
        targets = tf.gather(self._targets, document)[:, None]
        index = tf.gather(self._bases, document)[:, None] + tf.minimum(place, targets)
        tokens = tf.cast(tf.gather(self._tokens, index), tf.int32)  # [B, T + 1]
        inside = tf.cast(place[:, :-1] < targets, tf.int32)
        return {
            "tokens": tokens[:, :-1] * inside,
            "targets": tokens[:, 1:] * inside,
            "weight": tf.cast(inside, tf.float32) * weight[:, None],
            "reset": tf.ones_like(weight),
        }

    def training(
        self, first_step: int, batch_size: int, seed: int, total_examples: int | None = None
    ) -> tf.data.Dataset:
        """Endless shuffled batches from `first_step` on; the order depends on (seed, step) only, each window comes once
        an epoch.

        Windows after `total_examples` get weight 0.
        """
        signature = batch_signature(batch_size, self.length)
        return shuffled_batches(self.batch, self.count, signature, batch_size, first_step, seed, total_examples)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Every window once, in order; the last batch is filled up with windows of weight 0."""
        return batches_in_order(self.batch, self.count, batch_signature(batch_size, self.length), batch_size)


def stream_windows(tokens: np.ndarray, length: int) -> TokenWindows:
    """Windows of one stream `tokens: [N]`, N - 1 targets; DataError where N is below 2."""
    return TokenWindows(tokens, np.array([max(len(tokens) - 1, 0)], np.int64), length)


def document_windows(tokens: np.ndarray, lengths: np.ndarray, length: int) -> TokenWindows:
    """Windows of documents that are apart: `tokens: [N]` of all, `lengths: [D]` of each; N + D targets."""
    ends = np.cumsum(lengths)
    marked = np.insert(
        tokens, np.stack([ends - lengths, ends], axis=1).reshape(-1), np.tile([START, END], len(lengths))
    )
    return TokenWindows(marked, np.asarray(lengths, np.int64) + 1, length)

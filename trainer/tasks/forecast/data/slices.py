"""Equally long stretches of rows, cut in the graph out of a table at any first row."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

MOST_COPIES = 16
LARGEST_BYTES = 2**26  # of all copies together


class RowSlices:
    """Cuts equally many rows of `rows: [N, C]` out at each of several places.

    A gather spends its time on indices, and one for each row costs a training step several percent on few cores. So the
    table is held in up to `MOST_COPIES` copies, each shifted by one row more, in blocks of as many rows: any stretch is
    a few whole blocks of one copy.
    """

    def __init__(self, rows: np.ndarray):
        copies = 1
        while copies < MOST_COPIES and 2 * copies * rows.nbytes <= LARGEST_BYTES:
            copies *= 2
        count, channels = rows.shape
        self._copies, self._channels = copies, channels
        self._blocks_of_a_copy = -(-count // copies) + 1  # a stretch at the end reads on into padding
        padded = np.zeros(((self._blocks_of_a_copy + 1) * copies, channels), rows.dtype)
        padded[:count] = rows
        size = self._blocks_of_a_copy * copies
        blocks = [
            padded[shift : shift + size].reshape(self._blocks_of_a_copy, copies * channels) for shift in range(copies)
        ]
        with tf.device("/cpu:0"):
            self._blocks = tf.constant(np.concatenate(blocks))  # [copies * blocks, copies * C]

    def at(self, first: tf.Tensor, length: int) -> tf.Tensor:
        """The stretches of `length` rows that begin at rows `first: [B] int64`: [B, length, C].

        They are copied once where `length` is whole blocks, else twice.
        """
        copies = self._copies
        block = first % copies * self._blocks_of_a_copy + first // copies
        count = -(-length // copies)
        blocks = tf.gather(self._blocks, block[:, None] + tf.range(count, dtype=tf.int64))  # [B, count, copies * C]
        return tf.reshape(blocks, [-1, count * copies, self._channels])[:, :length]

"""A token stream -> batches for truncated backpropagation: parallel lanes, whose state is carried from step to step.

The stream is cut into `B` lanes of equal length. At each step every lane gives its next `T` tokens, so row `b` of a
batch goes on where row `b` of the batch before ended. An epoch reads the stream round from an offset of its own; the
one false transition, from the stream's last token to its first, has weight 0, as has what fills lanes and steps up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.dataset.example_batches import shaped_batches
from trainer.dataset.shuffle import shuffled_index
from trainer.errors import DataError

Batch = dict[str, tf.Tensor]


def batch_signature(batch: int | None, length: int | None) -> dict[str, tf.TensorSpec]:
    """Names, shapes and types of a batch, for lanes and windows alike: `B` rows of `T` tokens.

    `targets` are the tokens that follow `tokens`, `weight` is 1 where they count and else 0; `reset` is 1 where a row
    does not go on from the row of the batch before, so that its state must be zero first.
    """
    return {
        "tokens": tf.TensorSpec([batch, length], tf.int32),
        "targets": tf.TensorSpec([batch, length], tf.int32),
        "weight": tf.TensorSpec([batch, length], tf.float32),
        "reset": tf.TensorSpec([batch], tf.float32),
    }


class StatefulBatches:
    """The lanes of one split.

    `lane_length` tokens make a lane, `steps_per_epoch` batches an epoch, and `examples_per_epoch` rows. Every one of
    the `N - 1` targets counts exactly once an epoch.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, sequence_length: int):
        """Takes the stream `tokens: [N]` (any whole-number type), the lanes `B` and the tokens a step `T`.

        Raises:
          DataError: the stream has no target, or fewer than there are lanes.
        """
        if len(tokens) - 1 < max(1, batch_size):
            raise DataError(
                f"a stream of {len(tokens)} tokens does not fill {batch_size} lanes; use a smaller --batch_size or "
                "prepare more text"
            )
        self.batch_size, self.sequence_length = batch_size, sequence_length
        self.targets = len(tokens) - 1
        self.lane_length = -(-len(tokens) // batch_size)
        self.steps_per_epoch = -(-self.lane_length // sequence_length)
        self.examples_per_epoch = self.steps_per_epoch * batch_size
        with tf.device("/cpu:0"):
            self._tokens = tf.constant(tokens)
        self._count = len(tokens)

    def training(
        self, first_step: int, seed: int, total_examples: int | None = None, reset_share: float = 0.0
    ) -> tf.data.Dataset:
        """Endless batches from `first_step` on, a function of (seed, step) alone.

        `reset` is 1 at an epoch's first step, and at a random share `reset_share` of the rows of the others: a model
        that never sees a zero state between texts cannot begin one. Rows after `total_examples` rows (of
        `examples_per_epoch` an epoch) get weight 0.
        """

        def make(step: tf.Tensor) -> Batch:
            epoch, step_of_epoch = step // self.steps_per_epoch, step % self.steps_per_epoch
            batch = self._cut(step_of_epoch * self.sequence_length, shuffled_index(epoch, self._count, seed))
            if total_examples is not None:
                row = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
                batch["weight"] *= tf.cast(row < total_examples, tf.float32)[:, None]
            chance = tf.random.stateless_uniform(
                [self.batch_size], tf.stack([tf.constant(seed, tf.int64), step]), alg="philox"
            )
            reset = tf.logical_or(step_of_epoch == 0, chance < reset_share)
            return {**batch, "reset": tf.cast(reset, tf.float32)}

        return self._batches(tf.data.Dataset.range(first_step, 2**62), make, prefetch=8)

    def in_order(self, warm_up: int = 0) -> tf.data.Dataset:
        """One pass over the stream from its beginning, for evaluation.

        Args:
          warm_up: tokens (at least; rounded up to whole steps, and no more than a lane) that each lane but the first
            reads with weight 0 before its own, so that its state knows the text before it. The first lane's state is
            zero when its own tokens begin.
        """
        steps = min(-(-warm_up // self.sequence_length), self.lane_length // self.sequence_length)

        def make(step: tf.Tensor) -> Batch:
            batch = self._cut((step - steps) * self.sequence_length, tf.constant(0, tf.int64))
            first_lane = tf.range(self.batch_size) == 0
            reset = tf.logical_or(step == 0, tf.logical_and(step == steps, first_lane))
            return {**batch, "reset": tf.cast(reset, tf.float32)}

        return self._batches(tf.data.Dataset.range(steps + self.steps_per_epoch), make, prefetch=4)

    def _cut(self, within: tf.Tensor, offset: tf.Tensor) -> Batch:
        """The tokens from `within` of every lane on, in a stream that is read round from token `offset` on (both scalar
        int64).
        """
        lanes = tf.range(self.batch_size, dtype=tf.int64)[:, None] * self.lane_length
        place = within + tf.range(self.sequence_length, dtype=tf.int64)  # [T], in the lane
        position = lanes + place  # [B, T], in the epoch
        index = (position + offset) % self._count  # in the stream
        inside = (place >= 0) & (place < self.lane_length) & (position < self._count)
        counts = inside & (index < self._count - 1)
        last = (position[:, -1:] + offset + 1) % self._count
        tokens = tf.cast(tf.gather(self._tokens, tf.concat([index, last], axis=1)), tf.int32)  # [B, T + 1]
        return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weight": tf.cast(counts, tf.float32)}

    def _batches(self, steps: tf.data.Dataset, make: Callable[[tf.Tensor], Batch], prefetch: int) -> tf.data.Dataset:
        return shaped_batches(steps, make, batch_signature(self.batch_size, self.sequence_length), prefetch)

"""Pairs -> batches of a bounded set of shapes, in an order that is computed from (seed, epoch)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.dataset.shuffle import shuffled_index
from trainer.dataset.special_tokens import END, PAD
from trainer.errors import DataError
from trainer.tasks.seq2seq.length_buckets import length_buckets
from trainer.tasks.seq2seq.store import PairStore

Batch = dict[str, tf.Tensor]

MOST_SHAPES = 12  # of training batches: XLA compiles a program for each
ROW_MULTIPLE = 8  # of batches by tokens, so that replicas can share them
LENGTH_MULTIPLE = 8  # of the padded lengths in evaluation, which bounds the number of shapes there


def batch_signature(batch: int | None) -> dict[str, tf.TensorSpec]:
    """Names, shapes and types of a batch of `B` pairs, `S` source and `T` target tokens.

    Each row of `source` and `target` ends with END, then PAD; the lengths count END. `index` is the pair's number in
    the split. A row that only fills the batch up has the source END, no target (`target_lengths` 0) and the index -1.
    """
    return {
        "source": tf.TensorSpec([batch, None], tf.int32),
        "source_lengths": tf.TensorSpec([batch], tf.int32),
        "target": tf.TensorSpec([batch, None], tf.int32),
        "target_lengths": tf.TensorSpec([batch], tf.int32),
        "index": tf.TensorSpec([batch], tf.int64),
    }


class PairBatches:
    """The batches of one split.

    Attributes:
        pairs: pairs of the split, P.
        rows: all row counts that training batches have. By tokens they are multiples of ROW_MULTIPLE, whatever the
          number of replicas.
        shapes: all shapes (B, S, T) of training batches, at most MOST_SHAPES.
        steps_per_epoch: training batches that hold every pair once.
        padding_share: share of the source and target slots of an epoch that hold neither a token nor END.
    """

    def __init__(self, store: PairStore, batch_size: int, unit: str):
        """Takes the pairs and the size of a training batch.

        Args:
          store: the split.
          batch_size: rows of a batch, or tokens of its longer side with padding (at most, unless ROW_MULTIPLE rows have
            more already).
          unit: `sentences` or `tokens`, what `batch_size` counts.

        Raises:
          DataError: the split holds no pair.
        """
        self.pairs = len(store.source_lengths)
        if not self.pairs:
            raise DataError("the split holds no pair; prepare more data")
        self._lengths = np.stack([store.source_lengths, store.target_lengths], axis=1) + 1  # with END

        def rows(length: np.ndarray) -> np.ndarray:
            if unit == "sentences":
                return np.full_like(length, batch_size)
            return np.maximum(batch_size // length // ROW_MULTIPLE, 1) * ROW_MULTIPLE

        buckets, bucket_of = length_buckets(self._lengths[:, 0], self._lengths[:, 1], rows, MOST_SHAPES)
        counts = np.bincount(bucket_of, minlength=len(buckets))
        steps = -(-counts // np.array([bucket.rows for bucket in buckets]))
        slots = sum(int(n) * bucket.rows * (bucket.source + bucket.target) for n, bucket in zip(steps, buckets))
        self.shapes = tuple((bucket.rows, bucket.source, bucket.target) for bucket in buckets)
        self.rows = tuple(sorted({bucket.rows for bucket in buckets}))
        self.steps_per_epoch = int(steps.sum())
        self.padding_share = 1 - int(self._lengths.sum()) / slots
        with tf.device("/cpu:0"):
            self._shapes = tf.constant(self.shapes, tf.int64)
            self._counts = tf.constant(counts, tf.int64)
            self._last_steps = tf.constant(np.cumsum(steps), tf.int64)
            self._steps = tf.constant(steps, tf.int64)
            self._members = tf.constant(
                np.argsort(bucket_of, kind="stable"), tf.int64
            )  # of all buckets, one after the other
            self._first_members = tf.constant(np.cumsum(counts) - counts, tf.int64)
            self._sides = [_Side(store.source, store.source_lengths), _Side(store.target, store.target_lengths)]

    def training(self, first_step: int, seed: int, total_steps: int | None = None) -> tf.data.Dataset:
        """Endless batches from `first_step` on, a function of (seed, step) alone; every pair comes once an epoch.

        An epoch's batches come in a random order, each filled by random pairs of its bucket. From step `total_steps` on
        all rows only fill.
        """

        def make(step: tf.Tensor) -> Batch:
            epoch = step // self.steps_per_epoch
            number = shuffled_index(step, self.steps_per_epoch, seed)
            bucket = tf.searchsorted(self._last_steps, number[None], side="right")[0]
            number -= self._last_steps[bucket] - self._steps[bucket]  # among the bucket's own batches
            rows, source, target = tf.unstack(self._shapes[bucket])
            count = self._counts[bucket]
            place = number * rows + tf.range(rows)
            counts = place < count
            if total_steps is not None:
                counts &= step < total_steps
            member = shuffled_index(epoch * count + tf.minimum(place, count - 1), count, seed)
            return self._cut(tf.gather(self._members, self._first_members[bucket] + member), counts, source, target)

        same = self.rows[0] if len(self.rows) == 1 else None
        steps = tf.data.Dataset.range(first_step, 2**62)
        return steps.map(lambda step: _shaped(make(step), same), num_parallel_calls=2, deterministic=True).prefetch(8)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Every pair once, by rising source length, then target length; rows that only fill end the last batch.

        Lengths are padded to a multiple of LENGTH_MULTIPLE.
        """
        order = np.lexsort((self._lengths[:, 1], self._lengths[:, 0]))
        steps = -(-self.pairs // batch_size)
        padded = np.zeros([steps * batch_size, 2], np.int64)
        padded[: self.pairs] = self._lengths[order]
        longest = -(-padded.reshape(steps, batch_size, 2).max(axis=1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
        with tf.device("/cpu:0"):
            pairs, lengths = tf.constant(order, tf.int64), tf.constant(longest, tf.int64)

        def make(step: tf.Tensor) -> Batch:
            place = step * batch_size + tf.range(batch_size, dtype=tf.int64)
            pair = tf.gather(pairs, tf.minimum(place, self.pairs - 1))
            return self._cut(pair, place < self.pairs, lengths[step, 0], lengths[step, 1])

        dataset = tf.data.Dataset.range(steps)
        return dataset.map(
            lambda step: _shaped(make(step), batch_size), num_parallel_calls=2, deterministic=True
        ).prefetch(4)

    def _cut(self, pair: tf.Tensor, counts: tf.Tensor, source: tf.Tensor, target: tf.Tensor) -> Batch:
        """The pairs `pair: [B]` int64, where `counts: [B]` bool, padded to `source` and `target` (scalar int64)."""
        texts, lengths = self._sides[0].cut(pair, counts, source)
        translations, target_lengths = self._sides[1].cut(pair, counts, target)
        # A row without any source token would leave attention nothing to look at.
        texts = tf.where(counts[:, None] | (tf.range(source) > 0), texts, END)
        return {
            "source": texts,
            "source_lengths": tf.maximum(lengths, 1),
            "target": translations,
            "target_lengths": target_lengths,
            "index": tf.where(counts, pair, -1),
        }


class _Side:
    """The ids of one side, from which rows are cut."""

    def __init__(self, ids: np.ndarray, lengths: np.ndarray):
        self._ids = tf.constant(np.append(ids, np.array(PAD, ids.dtype)))
        self._lengths = tf.constant(lengths, tf.int64)
        self._first = tf.constant(np.cumsum(lengths) - lengths, tf.int64)

    def cut(self, pair: tf.Tensor, counts: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of ids, END and PAD, [B, width] int32, and their lengths with END, [B] int32; where not `counts`, PAD
        alone and 0.
        """
        length = tf.gather(self._lengths, pair)[:, None]
        column = tf.range(width)
        index = tf.minimum(tf.gather(self._first, pair)[:, None] + column, tf.size(self._ids, tf.int64) - 1)
        ids = tf.where(
            column < length, tf.cast(tf.gather(self._ids, index), tf.int32), tf.where(column == length, END, PAD)
        )
        return tf.where(counts[:, None], ids, PAD), tf.cast(tf.where(counts, length[:, 0] + 1, 0), tf.int32)


def _shaped(batch: Batch, rows: int | None) -> Batch:
    return {name: tf.ensure_shape(batch[name], spec.shape) for name, spec in batch_signature(rows).items()}

"""Series -> batches of windows: `lookback` steps that the model sees and `horizon` steps that it forecasts, cut in the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.data.calendar_features import NUM_TIME_FEATURES, time_features
from trainer.data.covariates import static_features
from trainer.data.manifest import SeriesFacts
from trainer.data.order import shuffled_index
from trainer.data.segments import Segment, window_starts
from trainer.data.stretches import Stretches
from trainer.errors import DataError

Batch = dict[str, tf.Tensor]


@dataclass(frozen=True)
class WindowShape:
    """What a window looks like: `L` lookback, `H` horizon, `C` channels, `F` features that all its steps have.

    The features are those of the time, of the columns that are known for the future, and of the static ones, in this order.
    """

    lookback: int
    horizon: int
    channels: int
    features: int

    def signature(self, batch: int | None) -> dict[str, tf.TensorSpec]:
        """Names, shapes and types of a batch."""
        past, future = [batch, self.lookback], [batch, self.horizon]
        return {
            "past": tf.TensorSpec([*past, self.channels], tf.float32),
            "past_observed": tf.TensorSpec([*past, self.channels], tf.float32),
            "past_features": tf.TensorSpec([*past, self.features], tf.float32),
            "future_features": tf.TensorSpec([*future, self.features], tf.float32),
            "series": tf.TensorSpec([batch, self.channels], tf.int32),
            "target": tf.TensorSpec([*future, self.channels], tf.float32),
            "target_weight": tf.TensorSpec([*future, self.channels], tf.float32),
        }


class Windows:
    """All windows of a split, numbered from 0 in the order of the segments and of time.

    `count` is their number; `batch(numbers)` cuts some of them out, `training` and `in_order` are the datasets made from that.
    """

    def __init__(self, segments: list[Segment], shape: WindowShape):
        """Takes the segments of the split.

        Raises:
          DataError: no segment is long enough for one window; the text tells the lengths.
        """
        lookback, horizon = shape.lookback, shape.horizon
        starts = [window_starts(segment, lookback, horizon) for segment in segments]
        firsts, counts = [start.start for start in starts], [len(start) for start in starts]
        if not sum(counts):
            longest = max((segment.last_target_end - segment.first_target for segment in segments), default=0)
            raise DataError(
                f"no window of --lookback={lookback} and --horizon={horizon} fits: the longest series of the split has {longest} rows;"
                " use shorter ones or more data"
            )
        self.shape = shape
        self.count = sum(counts)
        offsets = np.cumsum([0] + [segment.last_target_end for segment in segments])
        self._ends = tf.constant(np.cumsum(counts), tf.int64)  # window numbers at which a segment's windows end
        # row of the first lookback step = window number + shift of its segment
        self._shifts = tf.constant([o + f - lookback - (e - c) for o, f, e, c in zip(offsets, firsts, np.cumsum(counts), counts)], tf.int64)
        self._series = tf.constant([segment.series for segment in segments], tf.int32)
        rows = [slice(0, segment.last_target_end) for segment in segments]
        length = lookback + horizon
        self._values = Stretches(np.concatenate([s.values[r] for s, r in zip(segments, rows)]).astype(np.float32), length)
        observed = np.concatenate([s.observed[r] for s, r in zip(segments, rows)]).astype(np.float32)
        self._observed = None if observed.all() else Stretches(observed, length)
        self._features: Stretches | None = None
        if shape.features:
            self._features = Stretches(np.concatenate([_features(segment, shape) for segment in segments]), length)

    def batch(self, numbers: tf.Tensor, weight: tf.Tensor) -> Batch:
        """Cuts windows out.

        Args:
          numbers: [B] int64 in [0, count).
          weight: [B] float32, multiplied into `target_weight`; 0 for a window that only fills the batch up.

        Returns:
          As `WindowShape.signature` tells.
        """
        shape = self.shape
        segment = tf.searchsorted(self._ends, numbers, side="right", out_type=tf.int64)
        first = numbers + tf.gather(self._shifts, segment)
        size = [tf.shape(numbers)[0], shape.lookback + shape.horizon]
        values = self._values.at(first)  # [B, L + H, C]
        features = tf.zeros([*size, shape.features]) if self._features is None else self._features.at(first)  # [B, L + H, F]
        cut = shape.lookback
        if self._observed is None:
            past_observed = _ones(numbers, cut, shape.channels)
            target_weight = tf.tile(weight[:, None, None], [1, shape.horizon, shape.channels])
        else:
            observed = self._observed.at(first)
            past_observed, target_weight = observed[:, :cut], observed[:, cut:] * weight[:, None, None]
        return {
            "past": values[:, :cut],
            "past_observed": past_observed,
            "past_features": features[:, :cut],
            "future_features": features[:, cut:],
            "series": tf.gather(self._series, segment),
            "target": values[:, cut:],
            "target_weight": target_weight,
        }

    def training(self, first_step: int, batch_size: int, seed: int, total_examples: int | None) -> tf.data.Dataset:
        """Endless shuffled batches [batch_size, ...] from `first_step` on; the order depends on (seed, step) only.

        Examples after `total_examples` get weight 0, so that a run of whole epochs counts each window equally often.
        """

        def make(step: tf.Tensor) -> Batch:
            position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
            weight = tf.ones([batch_size]) if total_examples is None else tf.cast(position < total_examples, tf.float32)
            return self._with_shapes(self.batch(shuffled_index(position, self.count, seed), weight), batch_size)

        steps = tf.data.Dataset.range(first_step, 2**62)
        return steps.map(make, num_parallel_calls=1).prefetch(8)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Every window once, in order; the last batch is filled up with windows of weight 0."""

        def make(step: tf.Tensor) -> Batch:
            position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
            weight = tf.cast(position < self.count, tf.float32)
            return self._with_shapes(self.batch(tf.minimum(position, self.count - 1), weight), batch_size)

        return tf.data.Dataset.range(-(-self.count // batch_size)).map(make, num_parallel_calls=1).prefetch(4)

    def _with_shapes(self, batch: Batch, batch_size: int) -> Batch:
        return {name: tf.ensure_shape(batch[name], spec.shape) for name, spec in self.shape.signature(batch_size).items()}


def _features(segment: Segment, shape: WindowShape) -> np.ndarray:
    """`[T, F]` of the rows up to the last target: of the time if the shape has room for them, then known and static columns."""
    rows = segment.last_target_end
    parts = [np.zeros((rows, 0), np.float32)] if segment.known is None else [segment.known[:rows]]
    if segment.static is not None:
        parts.append(np.tile(segment.static, (rows, 1)))
    if segment.times is not None and shape.features == NUM_TIME_FEATURES + sum(part.shape[1] for part in parts):
        with tf.device("/cpu:0"):
            parts.insert(0, time_features(tf.constant(segment.times[:rows], tf.int64)).numpy())
    return np.concatenate(parts, axis=1)


def _ones(numbers: tf.Tensor, steps: int, channels: int) -> tf.Tensor:
    """[B, steps, channels] for `numbers: [B]`; a constant where B is known, as filling one for each batch takes as long as cutting it."""
    rows = numbers.shape[0]
    return tf.ones([tf.shape(numbers)[0], steps, channels]) if rows is None else tf.constant(np.ones([rows, steps, channels], np.float32))


def feature_count(facts: SeriesFacts, time_wanted: bool) -> int:
    """Features of a window: of the time where the data has dates and it is wanted, and all covariates of the dataset."""
    of_time = NUM_TIME_FEATURES if facts.interval is not None and time_wanted else 0
    return of_time + len(facts.known) + static_features(facts).shape[1]

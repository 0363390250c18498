"""Series -> batches of windows: `lookback` steps that the model sees and `horizon` steps that it forecasts, cut in the
graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.dataset.example_batches import batches_in_order
from trainer.dataset.shuffle import shuffled_index
from trainer.errors import DataError
from trainer.tasks.forecast.data.calendar_features import NUM_TIME_FEATURES, time_features
from trainer.tasks.forecast.data.covariates import static_features
from trainer.tasks.forecast.data.series_slices import SeriesSlice, window_starts
from trainer.tasks.forecast.data.slices import RowSlices
from trainer.tasks.forecast.facts import SeriesFacts

Batch = dict[str, tf.Tensor]

MOST_STEPS_OF_A_GROUP = 4  # batches cut at once: one by one, most of the time goes to starting ops and waking threads
LARGEST_GROUP_BYTES = 2**24


@dataclass(frozen=True)
class WindowShape:
    """The sizes of a window: `L` lookback, `H` horizon, `C` channels, `F` features that all its steps have.

    The features are those of the time, of the columns that are known for the future, and of the static ones, in this
    order.
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

    `count` is their number; `batch(numbers)` cuts some of them out, `training` and `in_order` are the datasets made
    from that.
    """

    def __init__(self, segments: list[SeriesSlice], shape: WindowShape):
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
                f"no window of --lookback={lookback} and --horizon={horizon} fits: the longest series of the split "
                f"has {longest} rows;"
                " use shorter ones or more data"
            )
        self.shape = shape
        self.count = sum(counts)
        offsets = np.cumsum([0] + [segment.last_target_end for segment in segments])
        self._ends = tf.constant(np.cumsum(counts), tf.int64)  # window numbers at which a segment's windows end
        # row of the first lookback step = window number + shift of its segment
        self._shifts = tf.constant(
            [o + f - lookback - (e - c) for o, f, e, c in zip(offsets, firsts, np.cumsum(counts), counts)], tf.int64
        )
        self._series = tf.constant([segment.series for segment in segments], tf.int32)
        rows = [slice(0, segment.last_target_end) for segment in segments]
        self._values = RowSlices(np.concatenate([s.values[r] for s, r in zip(segments, rows)]).astype(np.float32))
        observed = np.concatenate([s.observed[r] for s, r in zip(segments, rows)]).astype(np.float32)
        self._observed = None if observed.all() else RowSlices(observed)
        self._features: RowSlices | None = None
        if shape.features:
            self._features = RowSlices(np.concatenate([_features(segment, shape) for segment in segments]))

    def batch(self, numbers: tf.Tensor, weight: tf.Tensor | None = None) -> Batch:
        """Cuts windows out.

        Args:
          numbers: [B] int64 in [0, count).
          weight: [B] float32, multiplied into `target_weight`; 0 for a window that only fills the batch up. None for
            ones.

        Returns:
          As `WindowShape.signature` tells.
        """
        shape = self.shape
        segment = tf.searchsorted(self._ends, numbers, side="right", out_type=tf.int64)
        first = numbers + tf.gather(self._shifts, segment)
        past, target = self._cut(self._values, first, shape.channels, 1.0)
        past_observed, target_weight = self._cut(self._observed, first, shape.channels, 1.0)
        past_features, future_features = self._cut(self._features, first, shape.features, 0.0)
        return {
            "past": past,
            "past_observed": past_observed,
            "past_features": past_features,
            "future_features": future_features,
            "series": tf.gather(self._series, segment),
            "target": target,
            "target_weight": target_weight if weight is None else target_weight * weight[:, None, None],
        }

    def _cut(
        self, table: RowSlices | None, first: tf.Tensor, columns: int, otherwise: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """[B, L, columns] and [B, H, columns] from rows `first: [B]` on; full of `otherwise` where there is no
        table.
        """
        lookback, horizon = self.shape.lookback, self.shape.horizon
        if table is None:
            past, future = (_full(first, steps, columns, otherwise) for steps in (lookback, horizon))
            return past, future
        return table.at(first, lookback), table.at(first + lookback, horizon)

    def training(self, first_step: int, batch_size: int, seed: int, total_examples: int | None) -> tf.data.Dataset:
        """Endless shuffled batches [batch_size, ...] from `first_step` on; the order depends on (seed, step) only.

        Examples after `total_examples` get weight 0, so that a run of whole epochs counts each window equally often.
        """
        signature = self.shape.signature(batch_size)
        batch_bytes = sum(spec.dtype.size * spec.shape.num_elements() for spec in signature.values())
        steps = min(max(LARGEST_GROUP_BYTES // batch_bytes, 1), MOST_STEPS_OF_A_GROUP)

        def make(step: tf.Tensor) -> Batch:
            position = step * batch_size + tf.range(steps * batch_size, dtype=tf.int64)
            weight = None if total_examples is None else tf.cast(position < total_examples, tf.float32)
            group = self.batch(shuffled_index(position, self.count, seed), weight)
            return {name: tf.reshape(group[name], [steps, *spec.shape]) for name, spec in signature.items()}

        options = tf.data.Options()
        options.threading.private_threadpool_size = 1  # a step that shares its threads with the pipeline waits for them
        options.threading.max_intra_op_parallelism = 1
        groups = tf.data.Dataset.range(first_step, 2**62, steps).map(
            make, num_parallel_calls=1
        )  # one is cut while another is read
        # Slices share the group's memory. A prefetch behind them would wake a thread for every batch.
        return groups.flat_map(tf.data.Dataset.from_tensor_slices).with_options(options)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Every window once, in order; the last batch is filled up with windows of weight 0."""
        return batches_in_order(self.batch, self.count, self.shape.signature(batch_size), batch_size)


def _features(segment: SeriesSlice, shape: WindowShape) -> np.ndarray:
    """`[T, F]` of the rows up to the last target: of the time if the shape has room for them, then known and static
    columns.
    """
    rows = segment.last_target_end
    parts = [np.zeros((rows, 0), np.float32)] if segment.known is None else [segment.known[:rows]]
    if segment.static is not None:
        parts.append(np.tile(segment.static, (rows, 1)))
    if segment.times is not None and shape.features == NUM_TIME_FEATURES + sum(part.shape[1] for part in parts):
        with tf.device("/cpu:0"):
            parts.insert(0, time_features(tf.constant(segment.times[:rows], tf.int64)).numpy())
    return np.concatenate(parts, axis=1)


def _full(numbers: tf.Tensor, steps: int, columns: int, value: float) -> tf.Tensor:
    """[B, steps, columns] for `numbers: [B]`; a constant where B is known, as filling one for each batch takes as long
    as cutting it.
    """
    rows = numbers.shape[0]
    size = [tf.shape(numbers)[0], steps, columns]
    return tf.fill(size, value) if rows is None else tf.constant(np.full([rows, steps, columns], value, np.float32))


def feature_count(facts: SeriesFacts, with_time: bool) -> int:
    """Features of a window: of the time where the data has dates and it is wanted, and all covariates of the
    dataset.
    """
    of_time = NUM_TIME_FEATURES if facts.interval is not None and with_time else 0
    return of_time + len(facts.known) + static_features(facts).shape[1]

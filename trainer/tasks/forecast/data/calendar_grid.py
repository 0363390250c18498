"""Times beyond the last one, on the grid of an interval, as graph ops."""

from __future__ import annotations

import tensorflow as tf

from trainer.tasks.forecast.data.calendar_features import civil_from_days, days_from_civil, days_of
from trainer.tasks.forecast.data.intervals import Interval

_DAY = 86_400


def future_times(last: tf.Tensor, steps: int, interval: Interval) -> tf.Tensor:
    """The `steps` times after `last: [B]` int64 Unix seconds -> [B, steps]; months keep the day (or the month's last)
    and the hour.
    """
    if interval.unit == "second":
        return last[:, None] + tf.range(1, steps + 1, dtype=tf.int64) * interval.count
    ahead = tf.range(1, steps + 1) * interval.count
    year, month, day = civil_from_days(days_of(last))
    months = year[:, None] * 12 + month[:, None] + ahead
    first = days_from_civil(months // 12, months % 12)
    length = days_from_civil((months + 1) // 12, (months + 1) % 12) - first
    return tf.cast(first + tf.minimum(day[:, None], length - 1), tf.int64) * _DAY + (last % _DAY)[:, None]

"""Time features that are known for the future too, from Unix seconds, as graph ops."""

from __future__ import annotations

import math

import tensorflow as tf

NUM_TIME_FEATURES = 6
_DAY = 86_400


def days_of(times: tf.Tensor) -> tf.Tensor:
    """Whole days since 1970 of Unix seconds (int64), int32; exact for the years 1 to 9999.

    TFLite has no division of int64. Of a whole number of days, float32 is less than half a day off.
    """
    midnight = tf.cast(times - times % _DAY, tf.float32)
    return tf.cast(tf.round(midnight / _DAY), tf.int32)


def civil_from_days(days: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Year, month (0 to 11) and day (0 to 30) of days since 1970 (Howard Hinnant, chrono-compatible low-level date
    algorithms).
    """
    days += 719_468
    era, day_of_era = days // 146_097, days % 146_097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)  # counted from 1 March
    shifted = (5 * day_of_year + 2) // 153  # months from March
    month = (shifted + 2) % 12
    year = era * 400 + year_of_era + tf.cast(month < 2, days.dtype)
    return year, month, day_of_year - (153 * shifted + 2) // 5


def days_from_civil(year: tf.Tensor, month: tf.Tensor) -> tf.Tensor:
    """Days from 1970 to the first of a month (0 to 11)."""
    year -= tf.cast(month < 2, year.dtype)
    year_of_era = year % 400
    day_of_year = (153 * ((month + 10) % 12) + 2) // 5
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return (year // 400) * 146_097 + day_of_era - 719_468


def time_features(times: tf.Tensor) -> tf.Tensor:
    """Hour of the day, day of the week and month of the year, each as sine and cosine.

    Args:
      times: [...] int64, Unix seconds.

    Returns:
      [..., 6] float32.
    """
    days = days_of(times)
    phases = (
        tf.cast(times % _DAY, tf.float32) / _DAY,
        tf.cast((days + 3) % 7, tf.float32) / 7.0,  # 1 January 1970 was a Thursday
        tf.cast(civil_from_days(days)[1], tf.float32) / 12.0,
    )
    angles = tf.stack(phases, axis=-1) * (2.0 * math.pi)
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)

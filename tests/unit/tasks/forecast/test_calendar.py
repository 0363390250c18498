import datetime

import numpy as np

from trainer.tasks.forecast.data.intervals import Interval, advance


def test_dates_agree_with_the_standard_library(tf):
    from trainer.tasks.forecast.data.calendar_features import civil_from_days, days_from_civil

    days = np.random.default_rng(0).integers(-200_000, 200_000, 3000)
    year, month, day = (part.numpy() for part in civil_from_days(tf.constant(days, tf.int64)))
    dates = [datetime.date(1970, 1, 1) + datetime.timedelta(days=int(d)) for d in days]
    assert (year == [d.year for d in dates]).all()
    assert (month == [d.month - 1 for d in dates]).all()
    assert (day == [d.day - 1 for d in dates]).all()
    firsts = [(d.replace(day=1) - datetime.date(1970, 1, 1)).days for d in dates]
    assert (days_from_civil(tf.constant(year), tf.constant(month)).numpy() == firsts).all()


def test_features_repeat_by_day_week_and_year(tf):
    from trainer.tasks.forecast.data.calendar_features import time_features

    monday = int(datetime.datetime(2024, 1, 1, 6, tzinfo=datetime.timezone.utc).timestamp())
    features = time_features(tf.constant([monday, monday + 7 * 86_400, monday + 86_400], tf.int64)).numpy()
    np.testing.assert_allclose(
        features[0], [1, 0, 0, 0, 1, 1], atol=1e-6
    )  # six o'clock, Monday, January: sines, then cosines
    np.testing.assert_allclose(features[1], features[0], atol=1e-6)
    np.testing.assert_allclose(features[2][1], np.sin(2 * np.pi / 7), atol=1e-6)


def test_future_times_agree_with_numpy(tf):
    from trainer.tasks.forecast.data.calendar_grid import future_times

    start = int(datetime.datetime(2023, 11, 15, 4, 30, tzinfo=datetime.timezone.utc).timestamp())
    for interval in (Interval(3600, "second"), Interval(1, "month"), Interval(3, "month")):
        ours = future_times(tf.constant([start], tf.int64), 20, interval).numpy()[0]
        assert (ours == advance(start, 20, interval)).all()

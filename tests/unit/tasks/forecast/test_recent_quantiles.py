"""Empirical quantiles of recent days against a loop over windows that numpy's quantile is asked about one by one."""

import numpy as np

from trainer.tasks.forecast.data.series_slices import SeriesSlice, window_starts
from trainer.tasks.forecast.evaluation.recent_quantiles import RecentQuantiles


def segment(rows, first, series, seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, 1)).astype(np.float32)
    return SeriesSlice(values, np.ones((rows, 1), bool), first, rows, (series,))


def test_they_are_those_of_the_last_seven_seasons():
    season, lookback, horizon, levels = 3, 4, 5, (0.1, 0.5, 0.9)
    segments = [segment(60, 40, 0, 0), segment(50, 30, 1, 1)]
    recent = RecentQuantiles(segments, lookback, horizon, season, levels)
    windows = [(each, target) for each in segments for target in window_starts(each, lookback, horizon)]
    found = [recent.batch(np.arange(first, first + 8)) for first in range(0, len(windows), 8)]
    alike, placed = (np.concatenate(parts)[: len(windows)] for parts in zip(*found))
    for number, (each, target) in enumerate(windows):
        past = each.values[target - 21 : target, 0]
        for step in range(horizon):
            np.testing.assert_allclose(alike[number, step, 0], np.quantile(past, levels), rtol=1e-6)
            same = [
                each.values[target + step - back, 0]
                for back in range(3, 30, 3)
                if target - 21 <= target + step - back < target
            ]
            np.testing.assert_allclose(placed[number, step, 0], np.quantile(same, levels), rtol=1e-6)


def test_gaps_are_carried_over_and_a_short_past_is_its_first_value():
    values = np.array([[1.0], [0.0], [5.0], [2.0], [2.0], [2.0]], np.float32)
    observed = np.array([[True], [False], [True], [True], [True], [True]])
    recent = RecentQuantiles([SeriesSlice(values, observed, 2, 6, (0,))], 1, 1, 1, (0.5,))
    alike, _ = recent.batch(np.arange(4))
    np.testing.assert_array_equal(alike[:2, 0, 0, 0], [1, 1])  # before row 2 all is 1, carried or repeated
    assert alike[3, 0, 0, 0] == np.median([1, 1, 1, 1, 5, 2, 2])

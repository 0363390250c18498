"""Which windows a segment has, against a brute-force search over all rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from trainer.tasks.forecast.data.series_slices import SeriesSlice, count_windows, window_starts


def _segment(rows: int, first: int, end: int) -> SeriesSlice:
    return SeriesSlice(np.zeros((rows, 1), np.float32), np.ones((rows, 1), bool), first, end, (0,))


def test_window_starts_are_those_of_the_definition() -> None:
    rows = 9
    for first, end, lookback, horizon in itertools.product(range(rows + 1), range(rows + 1), range(1, 6), range(1, 5)):
        if first > end:
            continue
        want = [t for t in range(rows + 1) if first <= t and t + horizon <= end and t - lookback >= 0]
        assert list(window_starts(_segment(rows, first, end), lookback, horizon)) == want


def test_etth1_counts() -> None:
    train, test = _segment(14400, 0, 8640), _segment(14400, 11520, 14400)
    assert count_windows(train, 96, 96) == 8449
    assert [count_windows(test, 96, horizon) for horizon in (96, 192, 336, 720)] == [2785, 2689, 2545, 2161]
    assert count_windows([train, test], 96, 96) == 8449 + 2785
    assert count_windows([], 96, 96) == 0


@pytest.mark.parametrize(
    ("observed", "first", "end", "series"),
    [
        (np.ones((5, 1), bool), 0, 6, (0,)),
        (np.ones((5, 1), bool), 4, 3, (0,)),
        (np.ones((5, 1), bool), 0, 5, (0, 1)),
        (np.ones((4, 1), bool), 0, 4, (0,)),
        (np.ones((5, 1), np.uint8), 0, 5, (0,)),
    ],
)
def test_a_segment_that_does_not_fit_together_is_refused(
    observed: np.ndarray, first: int, end: int, series: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError):
        SeriesSlice(np.zeros((5, 1), np.float32), observed, first, end, series)

"""The interval that `benchmarks/input.py` prints."""

import random
import statistics

import pytest


@pytest.mark.parametrize("count, ranks", [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))])
def test_ends_are_the_tabulated_order_statistics(count, ranks):
    """Ranks of the 95% interval of a median as tables have them (Conover, Practical Nonparametric Statistics)."""
    from input import median_interval

    values = random.Random(0).sample(range(1, count + 1), count)
    assert median_interval(values) == ranks


def test_the_interval_holds_the_median_as_often_as_it_says():
    from input import median_interval

    draw = random.Random(1)
    intervals = [median_interval([draw.expovariate(1.0) for _ in range(25)]) for _ in range(2000)]
    held = statistics.fmean(low <= 0.6931 <= high for low, high in intervals)
    assert 0.94 < held < 0.98  # exactly 0.957: the binomial is coarse

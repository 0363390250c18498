"""The Diebold-Mariano test against loops, tables of Student's t, and its promise: of equal forecasters 5% are told
apart.
"""

import math

import numpy as np
import pytest

from trainer.tasks.forecast.evaluation.diebold_mariano import diebold_mariano, two_sided


@pytest.mark.parametrize(
    "degrees, statistic, p", [(4, 2.776, 0.05), (10, 2.228, 0.05), (30, 2.750, 0.01), (7, 0.0, 1.0)]
)
def test_two_sided_probabilities_are_those_of_the_tables(degrees, statistic, p):
    assert two_sided(statistic, degrees) == pytest.approx(p, abs=1e-4)
    assert two_sided(-statistic, degrees) == two_sided(statistic, degrees)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_statistic_is_that_of_the_papers(steps):
    random = np.random.default_rng(steps)
    own, other = np.convolve(random.random(20 + steps - 1), np.ones(steps), "valid"), np.full(20, 0.7 * steps)
    found = diebold_mariano(own, other, steps)
    difference = [a - b for a, b in zip(own, other)]
    n, mean = len(difference), sum(difference) / len(difference)
    variance = 0.0
    for lag in range(-(steps - 1), steps):  # Diebold and Mariano 1995, equation 3, rectangular window
        variance += sum((difference[t] - mean) * (difference[t - abs(lag)] - mean) for t in range(abs(lag), n)) / n
    plain = mean / math.sqrt(variance / n)
    corrected = plain * math.sqrt(
        (n + 1 - 2 * steps + steps * (steps - 1) / n) / n
    )  # Harvey, Leybourne and Newbold 1997, equation 8
    assert found.kernel == "rectangular" and found.lags == steps - 1
    assert found.statistic == pytest.approx(corrected, rel=1e-9)
    assert found.mean_difference == pytest.approx(mean)


def test_better_and_worse_change_places():
    random = np.random.default_rng(0)
    good, bad = random.random(40), random.random(40) + 0.5
    assert diebold_mariano(good, bad, 2).verdict == "better"
    assert diebold_mariano(bad, good, 2).verdict == "worse"
    assert diebold_mariano(good, bad, 2).p_value == pytest.approx(diebold_mariano(bad, good, 2).p_value)


@pytest.mark.parametrize("steps, count", [(1, 30), (4, 100)])
def test_equal_forecasters_are_seldom_told_apart(steps, count):
    """Differences of overlapping windows: a moving average of `steps` shocks, whose mean is 0."""
    random = np.random.default_rng(7)
    told, naive = 0, 0
    for _ in range(1000):
        shocks = random.normal(size=count + steps - 1)
        losses = np.convolve(shocks, np.ones(steps), "valid")
        told += diebold_mariano(losses, np.zeros(count), steps).verdict != "no difference shown"
        naive += diebold_mariano(losses, np.zeros(count), 1).verdict != "no difference shown"
    assert 30 < told < 100
    assert steps == 1 or naive > 250  # as if the windows did not overlap


def test_no_test_where_none_can_be_made():
    assert diebold_mariano(np.arange(4.0), np.ones(4), 4).p_value is None
    same = diebold_mariano(np.ones(10), np.ones(10), 1)
    assert same.p_value is None and same.verdict == "the differences do not vary"
    with pytest.raises(ValueError):
        diebold_mariano(np.array([1.0, np.nan, 2.0]), np.ones(3), 1)


def test_a_negative_rectangular_variance_gives_way_to_bartlett():
    swinging = np.array([1.0, -1.0] * 10) + np.linspace(0, 0.1, 20)
    found = diebold_mariano(swinging, np.zeros(20), 2)
    assert found.kernel == "bartlett" and 0 <= found.p_value <= 1

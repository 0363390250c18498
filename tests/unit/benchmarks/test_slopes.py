"""The soak's judgement: flat with noise is flat, a leak under noise is a leak."""

import numpy as np
import pytest
from slopes import BLOCKS, fit

SECONDS = np.arange(600.0)


@pytest.mark.parametrize("seed", range(20))
def test_noise_that_hangs_together_is_no_growth(seed):
    rng = np.random.default_rng(seed)
    context = np.convolve(rng.normal(size=700), np.ones(20) / 20, mode="valid")[:600]  # twenty samples hang together
    assert not fit(SECONDS, 450 + 3 * context).rises(2.0)


def test_a_leak_below_the_noise_of_a_sample_is_seen():
    rng = np.random.default_rng(0)
    slope = fit(SECONDS, 450 + 4 * rng.normal(size=600) + SECONDS * 0.01)
    assert slope.rises(2.0) and slope.growth == pytest.approx(6, abs=1.5) and slope.per_hour == pytest.approx(36, abs=9)


def test_one_late_jump_and_outliers_are_no_line_but_a_staircase_is():
    spikes = np.where(SECONDS % 50 == 7, 900.0, 450.0)
    assert not fit(SECONDS, spikes).rises(2.0)
    assert fit(SECONDS, 450 + SECONDS // 30).rises(2.0)
    assert not fit(SECONDS, 450 - SECONDS * 0.1).rises(2.0)


def test_the_line_is_numpys_through_medians():
    rng = np.random.default_rng(1)
    values = rng.normal(size=600).cumsum()
    x, y = (np.median(part.reshape(BLOCKS, -1), axis=1) for part in (SECONDS, values))
    slope, intercept = np.polyfit(x, y, 1)
    found = fit(SECONDS, values)
    assert found.per_hour == pytest.approx(slope * 3600) and found.start == pytest.approx(intercept)


def test_too_few_samples():
    with pytest.raises(ValueError, match="too few"):
        fit(np.arange(10.0), np.zeros(10))

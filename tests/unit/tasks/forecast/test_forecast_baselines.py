"""Baselines against plain loops, published figures on ETTh1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from series_runs import noisy_waves, windows_with_gaps

from trainer.tasks.forecast.data.series_slices import SeriesSlice, count_windows, window_starts
from trainer.tasks.forecast.evaluation.baselines import fit_baselines, naive, seasonal_mean, seasonal_naive
from trainer.tasks.forecast.evaluation.point_metrics import ForecastMetrics
from trainer.tasks.forecast.model.ridge import carry_forward


def test_carry_forward_is_that_of_a_loop() -> None:
    past, observed, filled = windows_with_gaps(0, 11)
    np.testing.assert_array_equal(carry_forward(past, observed), filled)
    np.testing.assert_array_equal(carry_forward(past, observed.astype(np.float32)), filled)


@pytest.mark.parametrize("horizon", [1, 4, 9])
@pytest.mark.parametrize("lookback", [4, 11, 12])
def test_simple_baselines_are_those_of_a_loop(lookback: int, horizon: int) -> None:
    season = 4
    past, observed, filled = windows_with_gaps(lookback, lookback)
    last, day, mean = np.zeros((3, 6, horizon, 3))
    for h in range(horizon):
        last[:, h] = filled[:, -1]
        day[:, h] = filled[:, lookback - season + h % season]
        same_hour = [filled[:, t] for t in range(lookback % season, lookback) if (t - lookback - h) % season == 0]
        assert len(same_hour) == lookback // season
        mean[:, h] = sum(same_hour) / len(same_hour)
    np.testing.assert_array_equal(naive(past, observed, horizon=horizon), last)
    np.testing.assert_array_equal(seasonal_naive(past, observed, horizon=horizon, season=season), day)
    np.testing.assert_allclose(
        seasonal_mean(past, observed, horizon=horizon, season=season), mean, rtol=1e-5, atol=1e-6
    )


def test_a_season_longer_than_the_lookback_is_refused() -> None:
    past, observed, _ = windows_with_gaps(0, 5)
    for baseline in (seasonal_naive, seasonal_mean):
        with pytest.raises(ValueError):
            baseline(past, observed, horizon=3, season=6)


def test_which_baselines_exist() -> None:
    train, validation = noisy_waves(8, 0.0)
    nothing = SeriesSlice(train.values, np.zeros_like(train.observed), 0, 120, (0, 1))
    assert list(fit_baselines([train], [validation], 8, 3, 8)) == ["naive", "seasonal_naive", "seasonal_mean", "ridge"]
    assert list(fit_baselines([train], [validation], 8, 3, 9)) == ["naive", "ridge"]
    assert list(fit_baselines([train], [validation], 8, 3, None)) == ["naive", "ridge"]
    assert list(fit_baselines([nothing], [validation], 8, 3, None)) == ["naive"]


def _windows(
    segment: SeriesSlice, lookback: int, horizon: int, batch: int = 256
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of `past [B, L, C]` and `target [B, H, C]`."""
    starts = window_starts(segment, lookback, horizon)
    for begin in range(starts.start, starts.stop, batch):
        at = np.arange(begin, min(begin + batch, starts.stop))[:, None]
        yield segment.values[at + np.arange(-lookback, 0)], segment.values[at + np.arange(horizon)]


def _etth1_errors(etth1_parts: list[SeriesSlice], lookback: int, horizon: int) -> dict[str, float]:
    """Test MSE of each baseline over all test windows."""
    train, validation, test = etth1_parts
    baselines = fit_baselines([train], [validation], lookback, horizon, 24)
    scores = {name: ForecastMetrics(horizon, np.zeros(7), np.ones(7), np.ones(7)) for name in baselines}
    for past, target in _windows(test, lookback, horizon):
        for name, baseline in baselines.items():
            forecast = baseline(past, np.ones(past.shape, bool))
            scores[name].add(forecast, target, np.ones(target.shape, bool), np.tile(np.arange(7), (len(past), 1)))
    results = {name: score.results() for name, score in scores.items()}
    assert all(result["series_windows"] == 7 * count_windows(test, lookback, horizon) for result in results.values())
    return {name: result["mse"] for name, result in results.items()}


def test_etth1_baselines_at_horizon_96(etth1_parts: list[SeriesSlice]) -> None:
    assert count_windows(etth1_parts[2], 96, 96) == 2785
    errors = _etth1_errors(etth1_parts, 96, 96)
    assert {name: round(error, 3) for name, error in errors.items() if name != "ridge"} == {
        "naive": 1.294,
        "seasonal_naive": 0.512,
        "seasonal_mean": 0.406,
    }
    assert errors["ridge"] == pytest.approx(0.383, rel=0.01)

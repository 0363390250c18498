"""Forecast metrics against plain loops over every single value."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from trainer.errors import DataError, TrainerError
from trainer.tasks.forecast.evaluation.point_metrics import ForecastMetrics, mase_scales

HORIZON = 5
MEAN, STD = np.array([10.0, -3.0, 0.0, 1e4]), np.array([2.0, 0.5, 1.0, 300.0])
SCALE = np.array([1.5, 0.0, 0.7, 90.0])  # series 1 has none
NAMES = ("a", "b", "c", "d")
Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _batches(seed: int, gaps: float = 0.3, channels: int = 2) -> list[Batch]:
    rng = np.random.default_rng(seed)
    batches = []
    for size in (4, 1, 7):
        shape = (size, HORIZON, channels)
        forecast, target = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
        observed = rng.random(shape) >= gaps
        target[~observed] = np.nan  # must not be read
        batches.append((forecast, target, observed, rng.integers(0, 3, size=(size, channels))))  # series 3 never occurs
    return batches


def _accumulated(batches: list[Batch]) -> ForecastMetrics:
    metrics = ForecastMetrics(HORIZON, MEAN, STD, SCALE, NAMES)
    for batch in batches:
        metrics.add(*batch)
    return metrics


def _scored(batches: list[Batch]) -> list[tuple[int, int, float, float]]:
    """`(series, step, target, forecast)` of each observed target, standardised."""
    return [
        (int(series[b, c]), h, float(target[b, h, c]), float(forecast[b, h, c]))
        for forecast, target, observed, series in batches
        for b, h, c in np.ndindex(forecast.shape)
        if observed[b, h, c]
    ]


def _reference(scored: list[tuple[int, int, float, float]]) -> dict[str, float | None]:
    """The definitions, written down as they stand, raw values formed first."""
    raw = [(s, y * STD[s] + MEAN[s], f * STD[s] + MEAN[s]) for s, _, y, f in scored]
    n = len(scored)
    by_series = [[abs(y - f) for s, y, f in raw if s == series] for series in range(len(STD))]
    scaled = [sum(errors) / len(errors) / SCALE[s] for s, errors in enumerate(by_series) if errors and SCALE[s] > 0]
    return {
        "mse": sum((y - f) ** 2 for _, _, y, f in scored) / n,
        "mae": sum(abs(y - f) for _, _, y, f in scored) / n,
        "mae_raw": sum(abs(y - f) for _, y, f in raw) / n,
        "rmse": math.sqrt(sum((y - f) ** 2 for _, y, f in raw) / n),
        "mase": sum(scaled) / len(scaled) if scaled else None,
        "smape": 100 * sum(2 * abs(y - f) / (abs(y) + abs(f)) for _, y, f in raw) / n,
    }


def _check(got: dict[str, Any], want: dict[str, float | None]) -> None:
    for name, value in want.items():
        assert got[name] == (value if value is None else pytest.approx(value, rel=1e-9)), name


@pytest.mark.parametrize(("gaps", "channels"), [(0.0, 1), (0.3, 2), (0.8, 3)])
def test_scores_are_those_of_a_loop(gaps: float, channels: int) -> None:
    batches = _batches(1, gaps, channels)
    scored = _scored(batches)
    got = _accumulated(batches).results()
    _check(got, _reference(scored))
    assert got["targets"] == len(scored)
    for step in range(HORIZON):
        _check(
            {name: values[step] for name, values in got["per_step"].items()},
            _reference([x for x in scored if x[1] == step]),
        )
    for series in range(3):
        row = got["per_series"][series]
        assert (row["series"], row["name"]) == (series, NAMES[series])
        _check(row, _reference([x for x in scored if x[0] == series]))
    json.dumps(got, allow_nan=False)


def test_windows_are_counted_where_they_have_a_scored_target() -> None:
    batches = _batches(2, 0.8)
    want = [0] * len(STD)
    for _, _, observed, series in batches:
        for b, c in np.ndindex(series.shape):
            want[series[b, c]] += bool(observed[b, :, c].any())
    got = _accumulated(batches).results()
    assert [row["windows"] for row in got["per_series"]] == want
    assert got["series_windows"] == sum(want)


def test_how_windows_are_batched_does_not_matter() -> None:
    batches = _batches(3)
    joined = [tuple(np.concatenate(parts) for parts in zip(*batches))]
    one, other = _accumulated(batches).results(), _accumulated(joined).results()  # type: ignore[arg-type]
    _check(one, {name: other[name] for name in ("mse", "mae", "mae_raw", "rmse", "mase", "smape")})


def test_what_nothing_defines_is_none() -> None:
    forecast, target = np.zeros((1, HORIZON, 1), np.float32), np.ones((1, HORIZON, 1), np.float32)
    observed = np.ones_like(forecast)
    observed[0, 2] = 0
    metrics = _accumulated([(forecast, target, observed, np.array([[1]]))])
    got = metrics.results()
    assert got["mse"] == 1 and got["mase"] is None  # series 1 has no scale
    assert got["per_step"]["mse"] == [1, 1, None, 1, 1]
    assert got["per_series"][3]["mse"] is None and got["per_series"][3]["targets"] == 0
    with pytest.raises(DataError, match="no window has an observed target"):
        _accumulated([(forecast, target, 0 * observed, np.array([[1]]))]).results()


def test_smape_of_zero_against_zero_is_zero() -> None:
    forecast = np.zeros((1, 2, 1), np.float32)
    metrics = ForecastMetrics(2, np.zeros(1), np.ones(1), np.zeros(1))
    metrics.add(forecast, np.array([0, 3], np.float32).reshape(1, 2, 1), np.ones((1, 2, 1)), np.zeros((1, 1), int))
    assert metrics.results()["per_step"]["smape"] == [0, 200]


def test_smape_takes_the_rounding_of_a_raw_zero_for_zero() -> None:
    zero = np.full((1, 1, 1), -7 / 3, np.float32)  # raw 0 of a series with mean 7 and std 3, not exact in float32
    metrics = ForecastMetrics(1, np.array([7.0]), np.array([3.0]), np.zeros(1))
    metrics.add(np.nextafter(zero, np.float32(0)), zero, np.ones((1, 1, 1)), np.zeros((1, 1), int))
    assert metrics.results()["smape"] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_forecast_that_is_no_number_is_an_error_even_where_nothing_is_scored(bad: float) -> None:
    batches = _batches(4)
    forecast, _, observed, series = batches[2]
    forecast[3, 2, 1] = bad
    observed[3, 2, 1] = False
    series[3, 1] = 2
    metrics = ForecastMetrics(HORIZON, MEAN, STD, SCALE, NAMES)
    metrics.add(*batches[0])
    metrics.add(*batches[1])
    before = metrics.results()
    with pytest.raises(TrainerError, match=r"window 8, horizon step 3, series 2 \(c\)"):
        metrics.add(*batches[2])
    assert metrics.results() == before


def test_a_target_that_is_no_number_is_bad_data() -> None:
    forecast, target, observed, series = _batches(5, gaps=0.0)[0]
    target[1, 0, 0] = np.nan
    with pytest.raises(DataError, match="window 1, horizon step 1"):
        _accumulated([(forecast, target, observed, series)])


def test_arguments_that_do_not_fit_are_refused() -> None:
    forecast, target, observed, series = _batches(6)[0]
    for batch in (
        (forecast[:, 1:], target[:, 1:], observed[:, 1:], series),
        (forecast, target[:, :, :1], observed, series),  # would broadcast
        (forecast, target, observed, series[:, 0]),
        (forecast, target, observed, series - 3),
        (forecast, target, observed, series + 4),
    ):
        with pytest.raises(ValueError):
            _accumulated([batch])
    with pytest.raises(ValueError):
        ForecastMetrics(HORIZON, MEAN, STD[:2], SCALE)
    with pytest.raises(ValueError):
        ForecastMetrics(HORIZON, MEAN, np.where(STD > 1, np.nan, STD), SCALE)


def test_sums_stay_exact_over_many_batches() -> None:
    """A float32 sum of ones stops at 2^24; here 0.1 squared, which float32 sums get wrong much earlier."""
    metrics = ForecastMetrics(64, np.zeros(1), np.ones(1), np.ones(1))
    forecast = np.full((1000, 64, 1), 0.1, np.float32)
    for _ in range(20):
        metrics.add(forecast, 0 * forecast, np.ones(forecast.shape, bool), np.zeros((1000, 1), int))
    assert metrics.results()["mse"] == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-10)


@pytest.mark.parametrize("season", [1, 4, 29, 30, 50])
def test_mase_scales_are_those_of_a_loop(season: int) -> None:
    rng = np.random.default_rng(7)
    values, observed = rng.normal(100, 5, (30, 4)), rng.random((30, 4)) > 0.2
    observed[:, 2], values[:, 3] = False, 8.0
    values[~observed] = np.nan
    want = []
    for c in range(4):
        pairs = [
            abs(values[t, c] - values[t - season, c])
            for t in range(season, 30)
            if observed[t, c] and observed[t - season, c]
        ]
        want.append(sum(pairs) / len(pairs) if pairs else 0.0)
    got = mase_scales(values, observed, season)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert got[2] == 0 and got[3] == 0


def test_mase_scales_refuse_bad_input() -> None:
    with pytest.raises(ValueError):
        mase_scales(np.ones((3, 1)), np.ones((3, 1)), 0)
    with pytest.raises(DataError):
        mase_scales(np.array([[1.0], [np.nan]]), np.ones((2, 1)), 1)

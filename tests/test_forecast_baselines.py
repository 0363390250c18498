"""Baselines against plain loops, numpy's least squares, and published figures on ETTh1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trainer.data.segments import Segment, count_windows, window_starts
from trainer.errors import TrainerError
from trainer.evaluation import forecast_baselines
from trainer.evaluation.forecast_baselines import (
    PENALTIES,
    Ridge,
    carry_forward,
    fit_baselines,
    fit_ridge,
    mean_day,
    repeat_day,
    repeat_last,
)
from trainer.evaluation.forecast_metrics import ForecastMetrics

ETTH1 = Path(__file__).parents[1] / "../shared/data/ETTh1.csv"


def _past(seed: int, lookback: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows `[6, L, 3]` with gaps, their masks, and the same filled by a plain loop."""
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(6, lookback, 3)).astype(np.float32)
    observed = rng.random(past.shape) > 0.3
    observed[0, :, 0], observed[1, :4, 1], observed[2] = False, False, True
    past[~observed] = np.nan  # must not be read
    filled = np.zeros_like(past)
    for b, c in np.ndindex(6, 3):
        value = np.float32(0)
        for step in range(lookback):
            value = past[b, step, c] if observed[b, step, c] else value
            filled[b, step, c] = value
    return past, observed, filled


def test_carry_forward_is_that_of_a_loop() -> None:
    past, observed, filled = _past(0, 11)
    np.testing.assert_array_equal(carry_forward(past, observed), filled)
    np.testing.assert_array_equal(carry_forward(past, observed.astype(np.float32)), filled)


@pytest.mark.parametrize("horizon", [1, 4, 9])
@pytest.mark.parametrize("lookback", [4, 11, 12])
def test_simple_baselines_are_those_of_a_loop(lookback: int, horizon: int) -> None:
    season = 4
    past, observed, filled = _past(lookback, lookback)
    last, day, mean = np.zeros((3, 6, horizon, 3))
    for h in range(horizon):
        last[:, h] = filled[:, -1]
        day[:, h] = filled[:, lookback - season + h % season]
        same_hour = [filled[:, t] for t in range(lookback % season, lookback) if (t - lookback - h) % season == 0]
        assert len(same_hour) == lookback // season
        mean[:, h] = sum(same_hour) / len(same_hour)
    np.testing.assert_array_equal(repeat_last(past, observed, horizon=horizon), last)
    np.testing.assert_array_equal(repeat_day(past, observed, horizon=horizon, season=season), day)
    np.testing.assert_allclose(mean_day(past, observed, horizon=horizon, season=season), mean, rtol=1e-5, atol=1e-6)


def test_a_season_longer_than_the_lookback_is_refused() -> None:
    past, observed, _ = _past(0, 5)
    for baseline in (repeat_day, mean_day):
        with pytest.raises(ValueError):
            baseline(past, observed, horizon=3, season=6)


def _walks(seed: int, gaps: float, rows: int = 160) -> tuple[Segment, Segment]:
    """Training and validation part of two noisy waves."""
    rng = np.random.default_rng(seed)
    values = (np.sin(np.arange(rows)[:, None] * [0.3, 0.5]) + rng.normal(size=(rows, 2)) * 0.3).astype(np.float32)
    observed = rng.random(values.shape) >= gaps
    values[~observed] = 0
    return Segment(values, observed, 0, 120, (0, 1)), Segment(values, observed, 120, rows, (0, 1))


def _rows(segment: Segment, lookback: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """All windows with whole targets, one by one, relative to the last value: `x [N, L]`, `y [N, H]`."""
    x, y = [], []
    for c in range(segment.values.shape[1]):
        for t in window_starts(segment, lookback, horizon):
            if segment.observed[t : t + horizon, c].all():
                window = slice(t - lookback, t)
                past = carry_forward(segment.values[None, window, c, None], segment.observed[None, window, c, None])[0, :, 0]
                x.append(past.astype(np.float64) - past[-1])
                y.append(segment.values[t : t + horizon, c].astype(np.float64) - past[-1])
    return np.array(x), np.array(y)


@pytest.mark.parametrize("gaps", [0.0, 0.15])
def test_ridge_is_least_squares_with_penalty_rows(gaps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_baselines, "_BLOCK_ELEMENTS", 7 * 11)  # blocks of seven windows: many, the last one ragged
    lookback, horizon = 8, 3
    train, validation = _walks(1, gaps)
    x, y = _rows(train, lookback, horizon)
    x_validation, y_validation = _rows(validation, lookback, horizon)
    assert 0 < len(x) <= 2 * count_windows(train, lookback, horizon)
    fits = []
    for penalty in PENALTIES:
        x_more = np.concatenate([x, np.sqrt(penalty * len(x)) * np.eye(lookback)])
        weights = np.linalg.lstsq(x_more, np.concatenate([y, np.zeros((lookback, horizon))]), rcond=None)[0]
        fits.append((float(((x_validation @ weights - y_validation) ** 2).sum()), penalty, weights))
    _, penalty, weights = min(fits, key=lambda fit: fit[0])
    ridge = fit_ridge([train], [validation], lookback, horizon)
    assert ridge is not None and ridge.penalty == penalty
    np.testing.assert_allclose(ridge.weights, weights, atol=1e-9)


def test_ridge_forecasts_relative_to_the_last_value() -> None:
    past, observed, filled = _past(3, 6)
    weights = np.random.default_rng(4).normal(size=(6, 2))
    want = np.zeros((6, 2, 3))
    for b, c in np.ndindex(6, 3):
        last = float(filled[b, -1, c])
        want[b, :, c] = (filled[b, :, c] - last) @ weights + last
    got = Ridge(weights, 1.0)(past, observed)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError):
        Ridge(weights, 1.0)(past[:, 1:], observed[:, 1:])


def test_ridge_does_not_see_beyond_its_segments() -> None:
    train, validation = _walks(5, 0.0)
    other = train.values.copy()
    other[120:] = 99
    changed = Segment(other, train.observed, 0, 120, (0, 1))
    one, two = (fit_ridge([segment], [validation], 8, 3) for segment in (train, changed))
    assert one is not None and two is not None
    np.testing.assert_array_equal(one.weights, two.weights)


def test_series_together_or_apart_give_one_regression() -> None:
    together = _walks(6, 0.1)
    apart = [
        [Segment(part.values[:, [c]], part.observed[:, [c]], part.first_target, part.last_target_end, (c,)) for c in (0, 1)]
        for part in together
    ]
    one, two = fit_ridge(together[:1], together[1:], 8, 3), fit_ridge(apart[0], apart[1], 8, 3)
    assert one is not None and two is not None and one.penalty == two.penalty
    np.testing.assert_allclose(one.weights, two.weights, atol=1e-12)


def test_ridge_where_little_is_known() -> None:
    train, validation = _walks(7, 0.0)
    nothing = Segment(train.values, np.zeros_like(train.observed), 0, 120, (0, 1))
    assert fit_ridge([nothing], [validation], 8, 3) is None
    assert fit_ridge([], [validation], 8, 3) is None
    unchosen = fit_ridge([train], [], 8, 3)
    assert unchosen is not None and unchosen.penalty == forecast_baselines.DEFAULT_PENALTY
    constant = Segment(np.zeros_like(train.values), train.observed, 0, 120, (0, 1))
    flat = fit_ridge([constant], [constant], 8, 3)
    assert flat is not None and not flat.weights.any()
    broken = Segment(np.where(np.arange(160)[:, None] == 50, np.nan, train.values), train.observed, 0, 120, (0, 1))
    with pytest.raises(TrainerError, match="NaN"):
        fit_ridge([broken], [validation], 8, 3)


def test_which_baselines_exist() -> None:
    train, validation = _walks(8, 0.0)
    nothing = Segment(train.values, np.zeros_like(train.observed), 0, 120, (0, 1))
    assert list(fit_baselines([train], [validation], 8, 3, 8)) == ["repeat_last", "repeat_day", "mean_day", "ridge"]
    assert list(fit_baselines([train], [validation], 8, 3, 9)) == ["repeat_last", "ridge"]
    assert list(fit_baselines([train], [validation], 8, 3, None)) == ["repeat_last", "ridge"]
    assert list(fit_baselines([nothing], [validation], 8, 3, None)) == ["repeat_last"]


@pytest.fixture(scope="module")
def etth1() -> list[Segment]:
    """Training, validation and test part, standardised by the training part as published results are."""
    if not ETTH1.exists():
        pytest.skip(f"{ETTH1} is absent: get ETTh1.csv from github.com/zhouhaoyi/ETDataset to run this test")
    raw = np.loadtxt(ETTH1, delimiter=",", skiprows=1, usecols=range(1, 8))[:14400]
    values = ((raw - raw[:8640].mean(0)) / raw[:8640].std(0)).astype(np.float32)
    observed = np.ones(values.shape, bool)
    return [Segment(values, observed, begin, end, tuple(range(7))) for begin, end in ((0, 8640), (8640, 11520), (11520, 14400))]


def _windows(segment: Segment, lookback: int, horizon: int, batch: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of `past [B, L, C]` and `target [B, H, C]`."""
    starts = window_starts(segment, lookback, horizon)
    for begin in range(starts.start, starts.stop, batch):
        at = np.arange(begin, min(begin + batch, starts.stop))[:, None]
        yield segment.values[at + np.arange(-lookback, 0)], segment.values[at + np.arange(horizon)]


def _etth1_errors(etth1: list[Segment], lookback: int, horizon: int) -> dict[str, float]:
    """Test MSE of each baseline over all test windows."""
    train, validation, test = etth1
    baselines = fit_baselines([train], [validation], lookback, horizon, 24)
    scores = {name: ForecastMetrics(horizon, np.zeros(7), np.ones(7), np.ones(7)) for name in baselines}
    for past, target in _windows(test, lookback, horizon):
        for name, baseline in baselines.items():
            forecast = baseline(past, np.ones(past.shape, bool))
            scores[name].add(forecast, target, np.ones(target.shape, bool), np.tile(np.arange(7), (len(past), 1)))
    results = {name: score.results() for name, score in scores.items()}
    assert all(result["series_windows"] == 7 * count_windows(test, lookback, horizon) for result in results.values())
    return {name: result["mse"] for name, result in results.items()}


def test_etth1_baselines_at_horizon_96(etth1: list[Segment]) -> None:
    assert count_windows(etth1[2], 96, 96) == 2785
    errors = _etth1_errors(etth1, 96, 96)
    assert {name: round(error, 3) for name, error in errors.items() if name != "ridge"} == {
        "repeat_last": 1.294,
        "repeat_day": 0.512,
        "mean_day": 0.406,
    }
    assert errors["ridge"] == pytest.approx(0.383, rel=0.01)


@pytest.mark.parametrize(
    ("lookback", "horizon", "published"),
    [(96, 192, 0.434), (96, 336, 0.474), (96, 720, 0.462), (336, 96, 0.370), (336, 192, 0.403), (336, 336, 0.425), (336, 720, 0.421)],
)
def test_etth1_ridge(etth1: list[Segment], lookback: int, horizon: int, published: float) -> None:
    """Without forming forecasts: the squared error of all test windows follows from the sums of the fit."""
    ridge = fit_ridge(etth1[:1], etth1[1:2], lookback, horizon)
    assert ridge is not None
    test = forecast_baselines._moments(etth1[2:], lookback, horizon)
    assert test.rows == 7 * count_windows(etth1[2], lookback, horizon)
    error = test.squared_error(ridge.weights) / (test.rows * horizon)
    print(f"ETTh1 ridge, lookback {lookback}, horizon {horizon}: test MSE {error:.4f}, penalty {ridge.penalty}")
    assert error == pytest.approx(published, rel=0.01)

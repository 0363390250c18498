"""Ridge regression against numpy's least squares and published figures on ETTh1."""

from __future__ import annotations

import numpy as np
import pytest
from series_runs import noisy_waves, windows_with_gaps

from trainer.errors import TrainerError
from trainer.tasks.forecast.data.series_slices import SeriesSlice, count_windows, window_starts
from trainer.tasks.forecast.model import ridge as ridges
from trainer.tasks.forecast.model.ridge import PENALTIES, Ridge, carry_forward, fit_ridge


def _rows(segment: SeriesSlice, lookback: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """All windows with whole targets, one by one, relative to the last value: `x [N, L]`, `y [N, H]`."""
    x, y = [], []
    for c in range(segment.values.shape[1]):
        for t in window_starts(segment, lookback, horizon):
            if segment.observed[t : t + horizon, c].all():
                window = slice(t - lookback, t)
                past = carry_forward(segment.values[None, window, c, None], segment.observed[None, window, c, None])[
                    0, :, 0
                ]
                x.append(past.astype(np.float64) - past[-1])
                y.append(segment.values[t : t + horizon, c].astype(np.float64) - past[-1])
    return np.array(x), np.array(y)


@pytest.mark.parametrize("gaps", [0.0, 0.15])
def test_ridge_is_least_squares_with_penalty_rows(gaps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridges, "_BLOCK_ELEMENTS", 7 * 11)  # blocks of seven windows: many, the last one ragged
    lookback, horizon = 8, 3
    train, validation = noisy_waves(1, gaps)
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
    past, observed, filled = windows_with_gaps(3, 6)
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
    train, validation = noisy_waves(5, 0.0)
    other = train.values.copy()
    other[120:] = 99
    changed = SeriesSlice(other, train.observed, 0, 120, (0, 1))
    one, two = (fit_ridge([segment], [validation], 8, 3) for segment in (train, changed))
    assert one is not None and two is not None
    np.testing.assert_array_equal(one.weights, two.weights)


def test_series_together_or_apart_give_one_regression() -> None:
    together = noisy_waves(6, 0.1)
    apart = [
        [
            SeriesSlice(part.values[:, [c]], part.observed[:, [c]], part.first_target, part.last_target_end, (c,))
            for c in (0, 1)
        ]
        for part in together
    ]
    one, two = fit_ridge(together[:1], together[1:], 8, 3), fit_ridge(apart[0], apart[1], 8, 3)
    assert one is not None and two is not None and one.penalty == two.penalty
    np.testing.assert_allclose(one.weights, two.weights, atol=1e-12)


def test_ridge_where_little_is_known() -> None:
    train, validation = noisy_waves(7, 0.0)
    nothing = SeriesSlice(train.values, np.zeros_like(train.observed), 0, 120, (0, 1))
    assert fit_ridge([nothing], [validation], 8, 3) is None
    assert fit_ridge([], [validation], 8, 3) is None
    unchosen = fit_ridge([train], [], 8, 3)
    assert unchosen is not None and unchosen.penalty == ridges.DEFAULT_PENALTY
    constant = SeriesSlice(np.zeros_like(train.values), train.observed, 0, 120, (0, 1))
    flat = fit_ridge([constant], [constant], 8, 3)
    assert flat is not None and not flat.weights.any()
    broken = SeriesSlice(np.where(np.arange(160)[:, None] == 50, np.nan, train.values), train.observed, 0, 120, (0, 1))
    with pytest.raises(TrainerError, match="NaN"):
        fit_ridge([broken], [validation], 8, 3)


@pytest.mark.parametrize(
    ("lookback", "horizon", "published"),
    [
        (96, 192, 0.434),
        (96, 336, 0.474),
        (96, 720, 0.462),
        (336, 96, 0.370),
        (336, 192, 0.403),
        (336, 336, 0.425),
        (336, 720, 0.421),
    ],
)
def test_etth1_ridge(etth1_parts: list[SeriesSlice], lookback: int, horizon: int, published: float) -> None:
    """Without forming forecasts: the squared error of all test windows follows from the sums of the fit."""
    ridge = fit_ridge(etth1_parts[:1], etth1_parts[1:2], lookback, horizon)
    assert ridge is not None
    test = ridges._moments(etth1_parts[2:], lookback, horizon)
    assert test.rows == 7 * count_windows(etth1_parts[2], lookback, horizon)
    error = test.squared_error(ridge.weights) / (test.rows * horizon)
    print(f"ETTh1 ridge, lookback {lookback}, horizon {horizon}: test MSE {error:.4f}, penalty {ridge.penalty}")
    assert error == pytest.approx(published, rel=0.01)


def test_of_very_many_windows_evenly_spaced_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = noisy_waves(9, 0.0)
    x, y = _rows(train, 8, 3)  # 110 windows of each of two series
    monkeypatch.setattr(ridges, "MOST_ROWS", 75)
    some = ridges._moments([train], 8, 3)
    assert some.rows == 2 * 37
    chosen = np.concatenate([np.arange(0, 110, 3), 110 + np.arange(0, 110, 3)])
    np.testing.assert_allclose(some.gram, x[chosen].T @ x[chosen], rtol=1e-12)
    np.testing.assert_allclose(some.cross, x[chosen].T @ y[chosen], rtol=1e-12)
    assert fit_ridge([train], [validation], 8, 3) is not None

"""Forecasts that a model has to beat: last value, last day, mean day, and linear regression on the lookback.

All take `past [B, L, C]` and `past_observed [B, L, C]` and give `[B, H, C]`, in standardised units.
(Legend: B windows, L lookback steps, H horizon steps, C channels.)

Missing inputs: every baseline sees the window with the last observed value of the same window carried forward, and 0
(the training mean) ahead of the first observed one. So a missing value of last day is replaced by the value carried to
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from trainer.tasks.forecast.data.series_slices import SeriesSlice
from trainer.tasks.forecast.model.ridge import carry_forward, fit_ridge

Baseline = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`(past [B, L, C], past_observed [B, L, C]) -> forecast [B, H, C]`, standardised."""


def naive(past: np.ndarray, observed: np.ndarray, *, horizon: int) -> np.ndarray:
    """The last observed value of each channel, at every step."""
    return np.repeat(carry_forward(past, observed)[:, -1:], horizon, axis=1)


def seasonal_naive(past: np.ndarray, observed: np.ndarray, *, horizon: int, season: int) -> np.ndarray:
    """The last `season` steps of the lookback, over and over. Needs `L >= season`."""
    _check_season(past, season)
    return _tile(carry_forward(past, observed)[:, -season:], horizon)


def seasonal_mean(past: np.ndarray, observed: np.ndarray, *, horizon: int, season: int) -> np.ndarray:
    """The average of the lookback's whole seasons, counted back from its end, over and over. Needs `L >= season`."""
    _check_season(past, season)
    days = past.shape[1] // season
    recent = carry_forward(past, observed)[:, -days * season :]
    return _tile(recent.reshape(len(recent), days, season, -1).mean(axis=1), horizon)


def _check_season(past: np.ndarray, season: int) -> None:
    if not 1 <= season <= past.shape[1]:
        raise ValueError(f"season {season} is not within the lookback of {past.shape[1]} steps")


def _tile(profile: np.ndarray, horizon: int) -> np.ndarray:
    """`[B, season, C] -> [B, H, C]`; the first forecast step is the profile's first."""
    return profile[:, np.arange(horizon) % profile.shape[1]]


def fit_baselines(
    train: Sequence[SeriesSlice], validation: Sequence[SeriesSlice], lookback: int, horizon: int, season: int | None
) -> dict[str, Baseline]:
    """All baselines that exist for these windows, by name.

    Args:
        train: segments that ridge is fitted on.
        validation: segments that choose its penalty.
        lookback: L, steps.
        horizon: H, steps.
        season: steps of a day (24 for hourly data), None where there is none; `seasonal_naive` and `seasonal_mean` are
          absent
            without it and where the lookback is shorter than it.

    Returns:
        `naive`, and where they exist `seasonal_naive`, `seasonal_mean`, `ridge`.
    """
    baselines: dict[str, Baseline] = {"naive": functools.partial(naive, horizon=horizon)}
    if season is not None and 1 <= season <= lookback:
        baselines["seasonal_naive"] = functools.partial(seasonal_naive, horizon=horizon, season=season)
        baselines["seasonal_mean"] = functools.partial(seasonal_mean, horizon=horizon, season=season)
    ridge = fit_ridge(train, validation, lookback, horizon)
    if ridge is not None:
        baselines["ridge"] = ridge
    return baselines

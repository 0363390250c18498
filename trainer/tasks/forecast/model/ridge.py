"""Linear regression of the horizon on the lookback, in closed form: a baseline, and the linear part of a forecaster.

(Legend: B windows, L lookback steps, H horizon steps, C channels.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from trainer.errors import TrainerError
from trainer.tasks.forecast.data.series_slices import SeriesSlice, count_windows, window_starts

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Ridge penalties tried, each times the number of training rows, so that one grid suits short and long data."""

DEFAULT_PENALTY = 1e-2
"""Taken where the validation split has no window with all targets observed."""

MOST_ROWS = 1 << 18
"""Of more windows than this, evenly spaced ones are taken: neighbours differ little, and time and memory stay
bounded."""

_BLOCK_ELEMENTS = 1 << 21  # float64 numbers of one block of windows: 16 MiB


def carry_forward(past: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Fill missing values by the last observed one of the same window and channel, 0 where there is none before.

    Args:
        past: `[B, L, C]` standardised; what stands at missing places is not read.
        observed: `[B, L, C]` bool or 0/1.

    Returns:
        `[B, L, C]` of the same dtype, without gaps.
    """
    present = np.asarray(observed, dtype=bool)
    if present.all():
        return past
    steps = np.arange(past.shape[1], dtype=np.int32)[None, :, None]
    latest = np.maximum.accumulate(np.where(present, steps, np.int32(-1)), axis=1)
    filled = np.take_along_axis(past, np.maximum(latest, 0), axis=1)
    return np.where(latest < 0, past.dtype.type(0), filled)


@dataclass(frozen=True, eq=False)
class Ridge:
    """Linear regression of the horizon on the lookback, one for all series: `y - x[-1] = (x - x[-1]) @ weights`.

    Both sides are taken relative to the window's last value, as in NLinear (Zeng et al., arXiv 2205.13504), and this is
    the intercept: one for each window. The form is the one that gives the published ETTh1 figures, not one that
    validation chose: at horizon 720, lookback 96 / 336, test MSE is .462 / .421; .470 / .433 with a fixed intercept on
    top; .493 / .458 on absolute values without intercept, though on ETTh1's validation part absolute values are ahead
    (1.26 against 1.56).

    Attributes:
        weights: `[L, H]` float64.
        penalty: the one of `PENALTIES` that was best on validation.
    """

    weights: np.ndarray
    penalty: float

    def __call__(self, past: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """`[B, L, C] -> [B, H, C]` float32, standardised."""
        if past.shape[1] != len(self.weights):
            raise ValueError(f"lookback of {past.shape[1]} steps for a regression on {len(self.weights)}")
        filled = carry_forward(past, observed).astype(np.float64).transpose(0, 2, 1)
        anchor = filled[:, :, -1:]
        forecast = (filled - anchor) @ self.weights + anchor
        return forecast.transpose(0, 2, 1).astype(np.float32)


@dataclass
class _Moments:
    """Sums over rows (a row is one window of one series), all that a least-squares problem needs. Memory: `L * (L +
    H)`.
    """

    gram: np.ndarray  # X'X [L, L]
    cross: np.ndarray  # X'Y [L, H]
    squares: float  # sum of Y^2
    rows: int

    def squared_error(self, weights: np.ndarray) -> float:
        """Sum of squared errors of `X @ weights` over all rows and steps."""
        return float(self.squares - 2 * np.vdot(weights, self.cross) + np.vdot(weights, self.gram @ weights))


def _moments(segments: Sequence[SeriesSlice], lookback: int, horizon: int) -> _Moments:
    """Sums over the windows of each series whose targets are all observed; at most about `MOST_ROWS` of them."""
    total = _Moments(np.zeros((lookback, lookback)), np.zeros((lookback, horizon)), 0.0, 0)
    every = max(
        1, -(-sum(count_windows(segment, lookback, horizon) * len(segment.series) for segment in segments) // MOST_ROWS)
    )
    for segment in segments:
        for x, y in _row_blocks(segment, lookback, horizon, every):
            total.gram += x.T @ x
            total.cross += x.T @ y
            total.squares += float(np.vdot(y, y))
            total.rows += len(x)
    if not (np.isfinite(total.gram).all() and np.isfinite(total.cross).all() and np.isfinite(total.squares)):
        raise TrainerError(
            "the ridge baseline met NaN or infinity in a value marked as observed; prepare the data again"
        )
    return total


def _row_blocks(
    segment: SeriesSlice, lookback: int, horizon: int, every: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of `(x [N, L], y [N, H])` float64 of every so many windows, relative to the window's last value, series
    after series.
    """
    starts = window_starts(segment, lookback, horizon)[::every]
    if not starts:
        return
    block = max(1, _BLOCK_ELEMENTS // (lookback + horizon))
    for channel in range(segment.values.shape[1]):
        values, observed = segment.values[:, channel], segment.observed[:, channel]
        missing_before = np.concatenate([[0], np.cumsum(~observed)])  # rows missing in [0, t)
        windows = sliding_window_view(values, lookback + horizon)
        masks = sliding_window_view(observed, lookback)
        for begin in range(0, len(starts), block):
            targets = np.asarray(starts[begin : begin + block])
            targets = targets[missing_before[targets + horizon] == missing_before[targets]]
            rows = windows[targets - lookback].astype(np.float64)
            x, y = rows[:, :lookback], rows[:, lookback:]
            x = carry_forward(x[:, :, None], masks[targets - lookback][:, :, None])[:, :, 0]
            yield x - x[:, -1:], y - x[:, -1:]


def fit_ridge(
    train: Sequence[SeriesSlice], validation: Sequence[SeriesSlice], lookback: int, horizon: int
) -> Ridge | None:
    """Fit on the training windows with fully observed targets; take the penalty with the least error on validation.

    Args:
        train: training segments, values `[T, C]` standardised.
        validation: validation segments; windows with a missing target are left out here too.
        lookback: L, steps.
        horizon: H, steps.

    Returns:
        The regression, or None where no training window has all its targets.
    """
    fitting = _moments(train, lookback, horizon)
    if fitting.rows == 0:
        return None
    choosing = _moments(validation, lookback, horizon)
    best: Ridge | None = None
    least = np.inf
    for penalty in PENALTIES if choosing.rows else (DEFAULT_PENALTY,):
        weights = np.linalg.solve(fitting.gram + penalty * fitting.rows * np.eye(lookback), fitting.cross)
        error = choosing.squared_error(weights)
        if best is None or error < least:
            best, least = Ridge(weights, penalty), error
    return best

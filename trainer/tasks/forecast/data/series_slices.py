"""A stretch of series from which forecast windows are cut, and which windows those are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no `==`
class SeriesSlice:
    """Series on one time axis, with the rows whose values may be targets.

    A window is named by its first target row `t`. Its lookback is the rows `[t - L, t)` and may reach back before
    `first_target`; its targets are the rows `[t, t + H)` and stay within `[first_target, last_target_end)`.

    Attributes:
        values: `[T, C]` float32, standardised; 0 where missing.
        observed: `[T, C]` bool, false where a value is missing.
        first_target: first row (from 0) that may be a target.
        last_target_end: one past the last row that may be a target.
        series: `[C]` index of each channel among all series of the data set.
        times: `[T]` int64 Unix seconds of the rows, None where the data has no dates.
        known: `[T, K]` float32, standardised, what is known for the future too; None where nothing is.
        static: `[J]` float32, standardised, what is the same at all rows; None where nothing is.
    """

    values: np.ndarray
    observed: np.ndarray
    first_target: int
    last_target_end: int
    series: tuple[int, ...]
    times: np.ndarray | None = None
    known: np.ndarray | None = None
    static: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape != self.observed.shape:
            raise ValueError(
                f"values {self.values.shape} and observed {self.observed.shape} must have one shape [T, C]"
            )
        if self.observed.dtype != np.bool_:
            raise ValueError(
                f"observed must be bool, not {self.observed.dtype}"
            )  # `~` of 0/1 integers would be wrong without a sound
        if len(self.series) != self.values.shape[1]:
            raise ValueError(f"{len(self.series)} series indices for {self.values.shape[1]} channels")
        if not 0 <= self.first_target <= self.last_target_end <= len(self.values):
            raise ValueError(
                f"targets [{self.first_target}, {self.last_target_end}) are not within {len(self.values)} rows"
            )


def window_starts(segment: SeriesSlice, lookback: int, horizon: int) -> range:
    """First target rows `t` of all windows of `segment` at stride 1, in time order; empty where it is too short."""
    first = max(segment.first_target, lookback)
    return range(first, max(first, segment.last_target_end - horizon + 1))


def count_windows(segments: SeriesSlice | Iterable[SeriesSlice], lookback: int, horizon: int) -> int:
    """Windows of one or several segments; one window holds all channels of its segment."""
    several = [segments] if isinstance(segments, SeriesSlice) else segments
    return sum(len(window_starts(segment, lookback, horizon)) for segment in several)

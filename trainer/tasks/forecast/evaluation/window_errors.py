"""The error of every single window, from which a report takes the best, the median and the worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.reports.parts import ranked_places


@dataclass(frozen=True)
class RankedWindow:
    """Window `number` (in the order that windows were added), its channel and series, its mean squared error,
    standardised, over so many scored targets.
    """

    rank: str
    number: int
    channel: int
    series: int
    mse: float
    targets: int


class WindowErrors:
    """Mean squared errors of windows, added batch by batch in their order."""

    def __init__(self) -> None:
        self._errors: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []
        self._series: list[np.ndarray] = []

    def add(self, forecast: np.ndarray, target: np.ndarray, weight: np.ndarray, series: np.ndarray) -> None:
        """Adds a batch: `forecast`, `target`, `weight` (0 where not scored): [B, H, C], standardised; `series: [B,
        C]`.
        """
        counts = weight.sum(axis=1)
        squares = (np.square(forecast - target, dtype=np.float64) * weight).sum(axis=1)
        self._errors.append(np.divide(squares, counts, out=np.full(counts.shape, np.nan), where=counts > 0))
        self._counts.append(counts)
        self._series.append(np.asarray(series))

    def ranked(self, series: int) -> list[RankedWindow]:
        """The best, the median and the worst window of a series; each window once.

        Only windows with half as many scored targets as the fullest take part, which without gaps is half the horizon:
        the error of a single value tells of luck.
        """
        errors, counts, owners = (np.concatenate(each) for each in (self._errors, self._counts, self._series))  # [N, C]
        of_series = (owners == series) & (counts > 0)
        places = np.argwhere(of_series & (2 * counts >= counts.max(where=of_series, initial=0)))
        order = places[np.argsort(errors[tuple(places.T)], kind="stable")]
        windows = []
        for rank, place in ranked_places(len(order)):
            number, channel = (int(index) for index in order[place])
            windows.append(
                RankedWindow(
                    rank, number, channel, series, float(errors[number, channel]), int(counts[number, channel])
                )
            )
        return windows

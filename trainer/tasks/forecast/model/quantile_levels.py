"""Properties of quantile levels without any forecast: normal scores, weights of an integral over them, pairs that
bound an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

MEDIAN = 0.5
_SAME = 1e-9  # levels are decimal numbers: 1 - 0.9 is 0.1


def normal_scores(levels: Sequence[float]) -> np.ndarray:
    """Quantiles of the standard normal distribution, [Q] float64."""
    return np.array([NormalDist().inv_cdf(level) for level in levels])


def cell_weights(levels: Sequence[float]) -> np.ndarray:
    """Share of the levels from 0 to 1 that is nearest to each one, [Q] float64, in total 1: an integral becomes a
    weighted sum.
    """
    borders = np.concatenate([[0.0], (np.asarray(levels[:-1]) + np.asarray(levels[1:])) / 2, [1.0]])
    return np.diff(borders)


def pairs(levels: Sequence[float]) -> list[tuple[int, int]]:
    """Indices of the levels `a` and `1 - a`, which bound a central interval of probability `1 - 2 a`; the widest
    first.
    """
    symmetric = []
    for low, level in enumerate(levels):
        if level < MEDIAN:
            symmetric += [(low, high) for high, other in enumerate(levels) if abs(level + other - 1) < _SAME]
    return symmetric

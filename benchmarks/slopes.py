"""Whether a series of measurements rises: a line through it, and how far chance alone would bend one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCKS = 12
T_LIMIT = 4.0  # of 10 degrees of freedom: chance passes it once in 800 series


@dataclass(frozen=True)
class Slope:
    """`start` and `end`: the line's values at both ends; `per_hour`: its slope; `t`: slope over its standard error."""

    start: float
    end: float
    per_hour: float
    t: float

    @property
    def growth(self) -> float:
        return self.end - self.start

    def rises(self, smallest: float) -> bool:
        """Whether the line rises by more than `smallest` over the whole series, and by more than noise explains."""
        return self.growth > smallest and self.t > T_LIMIT


def fit(seconds: np.ndarray, values: np.ndarray) -> Slope:
    """A line by least squares through the medians of `BLOCKS` equal parts of the series.

    Neighbouring samples hang together (garbage is collected now and then, a cache fills), so samples are no independent
    evidence; the medians of long blocks nearly are, and an outlier does not move them.

    Raises:
      ValueError: fewer than two samples a block.
    """
    if len(seconds) < 2 * BLOCKS:
        raise ValueError(f"{len(seconds)} samples are too few for a slope: at least {2 * BLOCKS} are needed")
    parts = np.array_split(np.arange(len(seconds)), BLOCKS)
    x = np.asarray([np.median(seconds[part]) for part in parts], np.float64)
    y = np.asarray([np.median(values[part]) for part in parts], np.float64)
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    residuals = y - y.mean() - slope * centred
    error = float(np.sqrt(residuals @ residuals / (BLOCKS - 2) / (centred @ centred)))
    at = [float(y.mean() + slope * (seconds[end] - x.mean())) for end in (0, -1)]
    t = slope / error if error > 0 else float(np.inf) * np.sign(slope) if slope else 0.0
    return Slope(at[0], at[1], slope * 3600, float(t))

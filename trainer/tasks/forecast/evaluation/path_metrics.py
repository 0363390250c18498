"""Scores of sample paths: of their single values, and of their sums over the horizon, which tell whether the steps hang
together.

Legend: N paths, B windows of a batch, H horizon steps, C channels. All is of standardised values; only observed targets
are scored.

- `crps_paths`: the continuous ranked probability score of single values, estimated without the bias of few paths
  ("fair", Ferro 2014): a mean over paths of `|x - y|`, less half the mean of `|x - x'|` over the pairs of different
  paths. Of one path it is the absolute error.
- `crps_sum`: the same of the sum over the horizon, such as the total load of the next day, of windows with every target
  observed. Paths whose steps do not go together have sums of too little spread, which no score of single values shows.
- `coverage_80_sum`: percent of those sums within the 80% interval of the paths' sums; None of fewer than `LEAST_PATHS`
  paths.

A score that nothing defines is None, never NaN.
"""

from __future__ import annotations

import numpy as np

from trainer.errors import TrainerError

LEAST_PATHS = 19  # of which the two middle 90% of gaps have 10% of the values on either side, as 20 gaps have
_AT_ONCE = 1 << 24  # values of paths that are sorted at once: 64 MiB


def fair_crps(samples: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The score of `samples [N, ...]` for each `target [...]`, float64."""
    ordered, count = np.sort(samples, axis=0).astype(np.float64), len(samples)
    error = np.abs(ordered - target).mean(axis=0)
    if count == 1:
        return error
    # the k-th smallest of N is above k - 1 others and below N - k
    rank = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *[1] * (ordered.ndim - 1))
    return error - (rank * ordered).sum(axis=0) / (count * (count - 1))


class PathMetrics:
    """Accumulates the scores of one forecaster over batches."""

    def __init__(self) -> None:
        self._values = self._sums = self._inside = 0.0  # scores added up
        self._targets = self._whole = 0  # how many values and sums were scored
        self._paths = 0

    def add(self, paths: np.ndarray, target: np.ndarray, observed: np.ndarray) -> None:
        """Scores a batch.

        Args:
          paths: [N, B, H, C], N the same for all batches.
          target: [B, H, C]; not read where missing.
          observed: [B, H, C] bool; false everywhere in a window that only fills the batch up.

        Raises:
          TrainerError: a path is not a number.
        """
        if not np.isfinite(paths).all():
            raise TrainerError(
                "a sample path is NaN or infinite; the model has diverged: train with a lower learning rate"
            )
        self._paths = len(paths)
        rows = max(1, _AT_ONCE // max(1, paths[:, 0].size))
        for first in range(0, paths.shape[1], rows):
            part = slice(first, first + rows)
            self._add(paths[:, part], np.where(observed[part], target[part], 0.0), observed[part])

    def _add(self, paths: np.ndarray, target: np.ndarray, observed: np.ndarray) -> None:
        self._values += float(fair_crps(paths, target)[observed].sum())
        self._targets += int(observed.sum())
        whole = observed.all(axis=1)  # [B, C]
        sums, total = (
            paths.sum(axis=2, dtype=np.float64)[:, whole],
            target.sum(axis=1, dtype=np.float64)[whole],
        )  # [N, W], [W]
        self._sums += float(fair_crps(sums, total).sum())
        self._whole += int(whole.sum())
        if len(paths) >= LEAST_PATHS and whole.any():
            outside = round((len(paths) + 1) / 10)  # gaps between the sorted sums, of which a tenth lies on either side
            ordered = np.sort(sums, axis=0)
            self._inside += int(((ordered[outside - 1] <= total) & (total <= ordered[len(paths) - outside])).sum())

    def results(self) -> dict[str, float | None]:
        """All scores, ready for JSON."""
        whole = max(1, self._whole)
        return {
            "crps_paths": self._values / self._targets if self._targets else None,
            "crps_sum": self._sums / whole if self._whole else None,
            "coverage_80_sum": 100 * self._inside / whole if self._whole and self._paths >= LEAST_PATHS else None,
        }

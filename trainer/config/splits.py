"""The splits of a dataset, in their order."""

from __future__ import annotations

SPLITS = ("train", "validation", "test")


def splits_through(split: str) -> tuple[str, ...]:
    """The splits up to and with `split`: a window's lookback may reach into those before."""
    return SPLITS[: SPLITS.index(split) + 1]

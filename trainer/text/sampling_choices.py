"""Inputs of the signatures that draw tokens, from predict's flags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.text.flags import SamplingFlags


def sampling_choices(sampling: SamplingFlags, seed: int, lines: Sequence[int]) -> dict[str, np.ndarray]:
    """The signature's inputs, [B] each, for the texts with these line numbers: each samples with a seed of its own."""
    size = len(lines)
    return {
        "temperature": np.full(size, sampling.temperature, np.float32),
        "top_k": np.full(size, sampling.top_k, np.int32),
        "top_p": np.full(size, sampling.top_p, np.float32),
        "seed": seed * 1_000_003 + np.asarray(lines, np.int64),
    }

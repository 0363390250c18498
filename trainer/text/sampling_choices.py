"""What predict's flags ask of the signatures that draw tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.config.trained_model import PredictConfig


def sampling_choices(config: PredictConfig, lines: Sequence[int]) -> dict[str, np.ndarray]:
    """The signature's inputs, [B] each, for the texts with these line numbers: each samples with a seed of its own."""
    size = len(lines)
    return {
        "temperature": np.full(size, config.temperature, np.float32),
        "top_k": np.full(size, config.top_k, np.int32),
        "top_p": np.full(size, config.top_p, np.float32),
        "seed": config.seed * 1_000_003 + np.asarray(lines, np.int64),
    }

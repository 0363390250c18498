"""Scores of language models, and what counting alone reaches."""

from __future__ import annotations

import math

import numpy as np

from trainer.errors import TrainerError
from trainer.tasks.language_model.facts import TextCounts

WINDOW = 256  # tokens of an independent window, the second protocol
LARGEST_BIGRAM_VOCABULARY = 4096
SMOOTHING = 0.1


def language_metrics(nats: float, targets: int, counts: TextCounts) -> dict[str, float]:
    """Nats and bits per token and per character, and the perplexity of a token.

    Where the first token of the split is not a target, its share of the characters is left out.

    Raises:
      TrainerError: the sum is not a number.
    """
    if not math.isfinite(nats):
        raise TrainerError(
            f"the model's loss over {targets} tokens is {nats}; train it again with a lower --learning_rate"
        )
    per_token = nats / targets
    characters = counts.characters * min(1.0, targets / counts.tokens)
    per_char = nats / characters
    return {
        "nats_per_char": per_char,
        "nats_per_token": per_token,
        "bits_per_char": per_char / math.log(2),
        "bits_per_token": per_token / math.log(2),
        "perplexity": math.exp(min(per_token, 700.0)),
    }


def count_baselines(
    train: np.ndarray, stream: np.ndarray, vocabulary: int, counts: TextCounts
) -> dict[str, dict[str, float]]:
    """Scores of `uniform`, `unigram` and, for small vocabularies, `bigram` models counted on the training stream, on
    every target.
    """
    targets = stream[1:].astype(np.int64)
    nats = {"uniform": math.log(vocabulary) * len(targets)}
    frequency = np.bincount(train, minlength=vocabulary) + SMOOTHING
    nats["unigram"] = float(-np.log(frequency / frequency.sum())[targets].sum())
    if vocabulary <= LARGEST_BIGRAM_VOCABULARY:
        pairs = np.bincount(train[:-1].astype(np.int64) * vocabulary + train[1:], minlength=vocabulary**2).reshape(
            vocabulary, vocabulary
        )
        smooth = pairs + SMOOTHING
        logs = np.log(smooth / smooth.sum(axis=1, keepdims=True))
        nats["bigram"] = float(-logs[stream[:-1].astype(np.int64), targets].sum())
    return {name: language_metrics(value, len(targets), counts) for name, value in nats.items()}

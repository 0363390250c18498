"""Flags of whatever reads and writes tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainer.config.fields import FlagGroup, at_least, flag, within
from trainer.errors import Problem

TOKENIZERS = ("char", "byte", "word", "sentencepiece")


@dataclass(frozen=True)
class TokenizerFlags(FlagGroup):
    """Of `prepare`."""

    GROUP: ClassVar[str] = "tokens (language model, seq2seq)"
    FIELD: ClassVar[str] = "tokens"

    tokenizer: str = flag("what a token is", default="char", choices=TOKENIZERS)
    vocab_size: int | None = flag(
        "largest vocabulary, the four special tokens included; without it 10000 for word and sentencepiece, every "
        "character for char",
        default=None,
    )
    sentencepiece_type: str = flag("how sentencepiece finds its pieces", default="bpe", choices=("bpe", "unigram"))

    @property
    def options(self) -> dict[str, str]:
        """Further arguments that the tokenizer is built with."""
        return {"model_type": self.sentencepiece_type} if self.tokenizer == "sentencepiece" else {}

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 8, "vocab_size")

        if self.tokenizer == "byte" and self.vocab_size is not None:
            yield Problem(
                "vocab_size",
                self.vocab_size,
                "has no effect with --tokenizer=byte",
                "leave it out: there are 256 bytes",
            )
        if self.tokenizer != "sentencepiece" and self.sentencepiece_type != "bpe":
            yield Problem(
                "sentencepiece_type",
                self.sentencepiece_type,
                f"has no effect with --tokenizer={self.tokenizer}",
                "leave it out",
            )


@dataclass(frozen=True)
class EmbeddingFlags(FlagGroup):
    """Of `train`."""

    GROUP: ClassVar[str] = "tokens (language model, seq2seq)"
    FIELD: ClassVar[str] = "token"

    embedding_size: int = flag("width of the token embedding; 0 is --units", default=0)
    tie_weights: bool = flag("use the (target) embedding as the output matrix too", default=False)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "embedding_size")


@dataclass(frozen=True)
class SamplingFlags(FlagGroup):
    """Of `predict`."""

    GROUP: ClassVar[str] = "sampling (language model, seq2seq)"
    FIELD: ClassVar[str] = "sampling"

    temperature: float = flag(
        "1 samples from the model's probabilities, less is bolder, 0 takes the likeliest token", default=1.0
    )
    top_k: int = flag("sample among so many likeliest tokens; 0 is all", default=0)
    top_p: float = flag("sample among the likeliest tokens that together reach this probability", default=1.0)

    def problems(self) -> Iterator[Problem]:
        yield from within(self, 0, 2**31, "top_k")
        yield from within(self, 0, math.inf, "temperature")
        if not 0 < self.top_p <= 1:
            yield Problem("top_p", self.top_p, "is outside (0, 1]", "use a value above 0, up to 1")

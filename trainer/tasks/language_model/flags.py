"""The flags of language modelling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainer.config.fields import FlagGroup, at_least, flag, within
from trainer.config.task_flags import TaskFlags, TfdsFeatures
from trainer.config.train import TaskTrainFlags
from trainer.config.trained_model import TaskExportFlags
from trainer.errors import Problem
from trainer.text.flags import EmbeddingFlags, SamplingFlags, TokenizerFlags


@dataclass(frozen=True)
class DocumentFlags(FlagGroup):
    GROUP: ClassVar[str] = "language model"
    FIELD: ClassVar[str] = "language"

    documents: str = flag(
        "stream is one document a file, lines one document a line", default="stream", choices=("stream", "lines")
    )


@dataclass(frozen=True)
class LanguageFlags(TaskTrainFlags):
    GROUP: ClassVar[str] = "language model"
    FIELD: ClassVar[str] = "language"

    sequence_length: int = flag("tokens that every lane (or document window) reads a step", default=128)
    ngram_order: int = flag("add embeddings of the last 2 to so many tokens to the last one's; 1 adds none", default=1)
    ngram_rows: int = flag(
        "largest embedding table of an n-gram order; n-grams beyond share rows by a hash", default=16384
    )
    ngram_dropout: float = flag("share of the n-gram embeddings that are dropped, each order by itself", default=0.0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "sequence_length", "ngram_order")
        yield from at_least(self, 2, "ngram_rows")
        yield from within(self, 0, 1, "ngram_dropout")


@dataclass(frozen=True)
class LanguageExportFlags(TaskExportFlags):
    """The largest requests that an exported model takes."""

    GROUP: ClassVar[str] = "language model"
    FIELD: ClassVar[str] = "language"

    largest_max_tokens: int = flag("most new tokens that a prompt gets, however many its max_tokens asks", default=4096)
    largest_prompt_tokens: int = flag("most tokens of a prompt; a longer one is refused", default=4096)
    largest_text_tokens: int = flag("most tokens of a text that is scored or encoded", default=1_000_000)

    def problems(self) -> Iterator[Problem]:
        yield from within(self, 1, 2**31, "largest_max_tokens")
        yield from within(
            self, 32, 2**31, "largest_prompt_tokens", "largest_text_tokens"
        )  # room for the export's own examples


@dataclass(frozen=True)
class CompletionFlags(FlagGroup):
    GROUP: ClassVar[str] = "language model"
    FIELD: ClassVar[str] = "language"

    max_tokens: int = flag("most new tokens a prompt", default=200)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "max_tokens")


FLAGS = TaskFlags(
    sources=("text", "tfds", "sample"),
    file_sources=("text",),
    sample="sample text",
    tfds=TfdsFeatures(("text",), "a text in every record"),
    prepare=(TokenizerFlags, DocumentFlags),
    train=(LanguageFlags, EmbeddingFlags),
    export=(LanguageExportFlags,),
    predict=(CompletionFlags, SamplingFlags),
)

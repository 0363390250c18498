"""A dataset of texts in `dataset.json`: its vocabulary and the sizes of its splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.dataset.schema import Manifest
from trainer.text.facts import TokenFacts


@dataclass(frozen=True)
class TextCounts:
    """Sizes of one split; `tokens` are those of the records, so without the marks between documents."""

    tokens: int
    characters: int
    documents: int
    unknown: int  # tokens that stand for text outside the vocabulary


@dataclass(frozen=True)
class TextFacts(TokenFacts):
    """The tokens of a text dataset."""

    TASK: ClassVar[str] = "language_model"

    tokenizer: str
    vocabulary_file: str | None  # in the dataset's directory; None where the tokenizer needs none
    vocabulary_size: int  # special tokens included
    vocabulary_sha256: str
    documents: str  # "stream": one document a file; "lines": one a line
    splits: dict[str, TextCounts]

    @property
    def needed_features(self) -> set[str]:
        return {"document", "start", "lengths", "tokens"}

    @property
    def vocabularies(self) -> tuple[str, ...]:
        return (self.vocabulary_sha256,)

    @property
    def files(self) -> tuple[str, ...]:
        return () if self.vocabulary_file is None else (self.vocabulary_file,)

    def check(self, manifest: Manifest) -> None:
        super().check(manifest)
        for name, split in manifest.splits.items():
            # Readers make room for what they are told of: no more than the shards can hold.
            if not 0 <= self.splits[name].documents <= self.splits[name].tokens <= split.bytes:
                raise ValueError(f"the counts of {name} do not fit together")

    def described(self) -> dict[str, str]:
        values = {
            "tokenizer": self.tokenizer,
            "vocabulary": f"{self.vocabulary_size:,} tokens",
            "documents": self.documents,
        }
        sizes = self.splits.items()
        return values | {
            name: f"{counts.tokens:,} tokens, {counts.characters:,} characters, {counts.documents:,} documents"
            for name, counts in sizes
        }


FACTS = TextFacts

"""What `dataset.json` tells of a dataset of texts: its vocabulary and the sizes of its splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.dataset.schema import Facts, Manifest, is_file_name
from trainer.text.flags import TOKENIZERS


@dataclass(frozen=True)
class TextCounts:
    """Sizes of one split; `tokens` are those of the records, so without the marks between documents."""

    tokens: int
    characters: int
    documents: int
    unknown: int  # tokens that stand for text outside the vocabulary


@dataclass(frozen=True)
class TextFacts(Facts):
    """What a text dataset knows of its tokens."""

    TASK: ClassVar[str] = "language_model"

    tokenizer: str
    vocabulary_file: str | None  # in the dataset's directory; None where the tokenizer needs none
    vocabulary_size: int  # special tokens included
    vocabulary_sha256: str
    documents: str  # "stream": one document a file; "lines": one a line
    splits: dict[str, TextCounts]

    @property
    def split_names(self) -> set[str]:
        return set(self.splits)

    @property
    def needed_features(self) -> set[str]:
        return {"document", "start", "lengths", "tokens"}

    @property
    def fingerprint_parts(self) -> list[str]:
        return [f"vocabulary {self.vocabulary_sha256}"]

    @property
    def files(self) -> tuple[str, ...]:
        return () if self.vocabulary_file is None else (self.vocabulary_file,)

    def check(self, manifest: Manifest) -> None:
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"{self.tokenizer!r} is not a tokenizer")
        if not all(is_file_name(file) for file in self.files):
            raise ValueError("a vocabulary is not a file of the directory")
        for name, split in manifest.splits.items():
            # Readers make room for what they are told of: no more than the shards can hold.
            if not 0 <= self.splits[name].documents <= self.splits[name].tokens <= split.bytes:
                raise ValueError(f"the counts of {name} do not fit together")

    def difference(self, other: Facts) -> str | None:
        if isinstance(other, TextFacts) and other.vocabulary_sha256 != self.vocabulary_sha256:
            return "has another vocabulary than the model was trained with; give the dataset of the training run"
        return None

    def described(self) -> dict[str, str]:
        values = {
            "tokenizer": self.tokenizer,
            "vocabulary": f"{self.vocabulary_size:,} tokens",
            "documents": self.documents,
        }
        sizes = self.splits.items()
        return values | {
            name: f"{own.tokens:,} tokens, {own.characters:,} characters, {own.documents:,} documents"
            for name, own in sizes
        }


FACTS = TextFacts

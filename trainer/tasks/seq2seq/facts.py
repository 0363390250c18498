"""A dataset of pairs in `dataset.json`: its two vocabularies and the sizes of its splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.dataset.schema import Manifest
from trainer.text.facts import TokenFacts


@dataclass(frozen=True)
class VocabularyFacts:
    """One side's vocabulary; with a joint one both sides have the same."""

    file: str | None  # in the dataset's directory; None where the tokenizer needs none
    size: int  # special tokens included
    sha256: str


@dataclass(frozen=True)
class PairCounts:
    """Sizes of one split; tokens are those of the records, so without marks of start and end."""

    pairs: int
    source_tokens: int
    target_tokens: int
    source_unknown: int  # tokens that stand for text outside the vocabulary
    target_unknown: int
    dropped: dict[str, int]  # rule -> pairs (or lines without a partner) that it left out


@dataclass(frozen=True)
class PairFacts(TokenFacts):
    """The tokens of a dataset of pairs."""

    TASK: ClassVar[str] = "seq2seq"

    tokenizer: str
    joint: bool
    source: VocabularyFacts
    target: VocabularyFacts
    splits: dict[str, PairCounts]

    @property
    def needed_features(self) -> set[str]:
        return {"pair", "source", "target"}

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """SHA-256 of the source's and the target's."""
        return self.source.sha256, self.target.sha256

    @property
    def files(self) -> tuple[str, ...]:
        """The files of both vocabularies, each once."""
        return tuple(dict.fromkeys(side.file for side in (self.source, self.target) if side.file is not None))

    def check(self, manifest: Manifest) -> None:
        super().check(manifest)
        for name, split in manifest.splits.items():
            if self.splits[name].pairs != split.records:
                raise ValueError(f"{name} has {split.records} records for {self.splits[name].pairs} pairs")

    def described(self) -> dict[str, str]:
        vocabularies = f"{self.source.size:,} source, {self.target.size:,} target tokens"
        values = {"tokenizer": self.tokenizer, "vocabularies": vocabularies}
        for split, sizes in self.splits.items():
            values[split] = (
                f"{sizes.pairs:,} pairs, {sizes.source_tokens:,} source and {sizes.target_tokens:,} target tokens"
            )
        return values


FACTS = PairFacts

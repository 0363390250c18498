"""What `dataset.json` tells of a dataset of pairs: its two vocabularies and the sizes of its splits."""

from __future__ import annotations

from dataclasses import dataclass


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
class PairFacts:
    """What a dataset of pairs knows of its tokens."""

    tokenizer: str
    joint: bool
    source: VocabularyFacts
    target: VocabularyFacts
    splits: dict[str, PairCounts]

    @property
    def vocabulary_files(self) -> tuple[str, ...]:
        """The files of both vocabularies, each once."""
        return tuple(dict.fromkeys(side.file for side in (self.source, self.target) if side.file is not None))

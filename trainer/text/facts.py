"""Any dataset of tokens in `dataset.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.dataset.schema import Facts, Manifest, is_file_name
from trainer.text.flags import TOKENIZERS


class TokenFacts(Facts):
    """Base of the facts of datasets with tokens, which vocabularies tie to their models.

    Attributes:
        tokenizer: its kind.
        splits: split -> its sizes.
    """

    tokenizer: str
    splits: Mapping[str, Any]

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """SHA-256 of each vocabulary."""
        raise NotImplementedError

    @property
    def split_names(self) -> set[str]:
        return set(self.splits)

    @property
    def fingerprint_parts(self) -> list[str]:
        return [f"vocabulary {sha256}" for sha256 in self.vocabularies]

    def check(self, manifest: Manifest) -> None:
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"{self.tokenizer!r} is not a tokenizer")
        if not all(is_file_name(file) for file in self.files):
            raise ValueError("a vocabulary is not a file of the directory")

    def difference(self, other: Facts) -> str | None:
        if isinstance(other, TokenFacts) and other.vocabularies != self.vocabularies:
            return "has another vocabulary than the model was trained with; give the dataset of the training run"
        return None

"""The contract of every tokenizer.

Texts never encode to padding, start or end; decoded, these three vanish and the unknown token is U+FFFD. For text whose
every part is in the vocabulary, `decode(encode(text)) == text`.
"""

from __future__ import annotations

import abc
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from trainer.dataset.special_tokens import SPECIAL, UNKNOWN

DEFAULT_SIZE = 10_000  # of word and sentencepiece vocabularies
CUT_WITHIN = 4096  # characters, in which a place to cut text is looked for
# No token has a line feed, or a space after something else, within it.
_CUT = re.compile(r"(?<=\n)|(?<=[^ \n])(?= )")


def token_dtype(vocabulary_size: int) -> str:
    """The smallest type that holds every id."""
    return "uint8" if vocabulary_size <= 1 << 8 else "uint16" if vocabulary_size <= 1 << 16 else "int32"


def read_ids(stored: np.ndarray, lowest: int) -> np.ndarray:
    """The ids that records hold, less `lowest`, as `stored: [n]`; in the next larger type unless `lowest` is 0."""
    return np.add(stored, lowest, dtype=np.uint16 if stored.dtype == np.uint8 else np.int32) if lowest else stored


class Tokenizer(abc.ABC):
    """One vocabulary; instances can be sent to other processes."""

    kind: ClassVar[str]
    file: ClassVar[str | None]  # name of the vocabulary's file
    cuts_anywhere: ClassVar[bool] = False  # parts of a text always encode as the whole does; else where `cut` says
    lowest: ClassVar[int] = 0  # no text encodes to a smaller id: records hold ids less this

    def __init__(self, content: bytes, size: int):
        """Takes the vocabulary as its file holds it and the number of ids."""
        self.content, self.size = content, size

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, [n] of an integer type."""
        return self.encode_all([text])[0]

    @abc.abstractmethod
    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of several texts one after the other, [n] of an integer type, and how many each has, [texts]
        int64.
        """

    def store_all(self, texts: Sequence[str]) -> tuple[bytes, np.ndarray, int]:
        """As `encode_all`, but the ids as records hold them, and how many of them are unknown."""
        ids, lengths = self.encode_all(texts)
        return self.store(ids), lengths, int(np.count_nonzero(ids == UNKNOWN))

    def store(self, ids: np.ndarray) -> bytes:
        """Ids of texts as records hold them: little-endian, of `stored_dtype`."""
        lowered = ids - self.lowest if self.lowest else ids
        return lowered.astype(np.dtype(self.stored_dtype).newbyteorder("<"), copy=False).tobytes()

    @property
    def stored_dtype(self) -> str:
        return token_dtype(self.size - self.lowest)

    @abc.abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, [n] whole numbers in [0, size)."""

    def cut(self, text: str, position: int) -> int:
        """The first place from `position` on where text may be cut so that its parts encode as the whole does, at the
        latest its end.

        Where there is none in CUT_WITHIN characters, `position` itself: there, what is cut is a very long word.
        """
        if self.cuts_anywhere or position <= 0 or position >= len(text):
            return position
        match = _CUT.search(text, position, position + CUT_WITHIN - 1)
        if match:
            return match.start()
        return position if len(text) - position >= CUT_WITHIN else len(text)

    @property
    def sha256(self) -> str:
        return checksum(self.kind, self.content)

    def save(self, directory: str | Path, file: str | None = None) -> None:
        """Writes the vocabulary's file, if it has one, into a directory, under its own name or as `file`; raises
        OSError.
        """
        if self.file is not None:
            (Path(directory) / (file or self.file)).write_bytes(self.content)


def checksum(kind: str, content: bytes) -> str:
    """SHA-256 of a vocabulary, by which a dataset and a model know theirs."""
    return hashlib.sha256(f"{kind}\n".encode() + content).hexdigest()


def without_marks(ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """The ids, [n] int64, less those that have no text."""
    array = np.asarray(ids, np.int64)
    return array[(array == UNKNOWN) | (array >= len(SPECIAL))]

"""What every tokenizer does, and the ids that mean the same in every vocabulary: padding, unknown, start and end of a document.

Texts never encode to padding, start or end; decoded, these three vanish and the unknown token is U+FFFD. For text whose every part
is in the vocabulary, `decode(encode(text)) == text`.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

PAD, UNKNOWN, START, END = range(4)
SPECIAL = ("<pad>", "<unknown>", "<start>", "<end>")
UNKNOWN_TEXT = "\ufffd"
DEFAULT_SIZE = 10_000  # of word and sentencepiece vocabularies


class Tokenizer(abc.ABC):
    """One vocabulary; instances can be sent to other processes."""

    kind: ClassVar[str]
    file: ClassVar[str | None]  # name of the vocabulary's file
    cuts_anywhere: ClassVar[bool] = False  # else text may be cut after a newline only, if the parts are to encode as the whole does
    pays_processes: ClassVar[bool] = True  # slow enough that encoding in several processes is faster

    def __init__(self, content: bytes, size: int):
        """Takes the vocabulary as its file holds it and the number of ids."""
        self.content, self.size = content, size

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, [n] int32."""
        return self.encode_all([text])[0]

    @abc.abstractmethod
    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of several texts one after the other, [n] int32, and how many each has, [texts] int64."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, [n] whole numbers in [0, size)."""

    @property
    def sha256(self) -> str:
        return checksum(self.kind, self.content)

    def save(self, directory: str | Path, file: str | None = None) -> None:
        """Writes the vocabulary's file, if it has one, into a directory, under its own name or as `file`; raises OSError."""
        if self.file is not None:
            (Path(directory) / (file or self.file)).write_bytes(self.content)


def checksum(kind: str, content: bytes) -> str:
    """SHA-256 of a vocabulary, by which a dataset and a model know theirs."""
    return hashlib.sha256(f"{kind}\n".encode() + content).hexdigest()


def without_marks(ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """The ids, [n] int64, less those that have no text."""
    array = np.asarray(ids, np.int64)
    return array[(array == UNKNOWN) | (array >= len(SPECIAL))]

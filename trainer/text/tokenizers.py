"""Text <-> token ids: characters, bytes, words, and subwords of the `sentencepiece` package.

`vocabulary.txt` (char, word) holds one entry a line, so that the line number from 0 is the id: the four special tokens,
then each entry as a JSON string (newlines are entries too). `vocabulary.model` is the sentencepiece model. Bytes need
no file.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from trainer.dataset.special_tokens import SPECIAL, UNKNOWN, UNKNOWN_TEXT
from trainer.errors import DataError
from trainer.text.sentencepiece_tokenizer import SentencepieceTokenizer
from trainer.text.tokenizer import DEFAULT_SIZE, Tokenizer, checksum, read_ids, without_marks

# Characters above U+007F that are no part of a word, first and last of each range: punctuation and signs of Latin-1
# (NEL and the no-break space among them), Ogham space, general punctuation and spaces, currency, arrows and symbols,
# CJK punctuation, full-width forms. Ranges of our own, since Python's re and TensorFlow's ops carry Unicode tables of
# different versions.
SYMBOL_RANGES = (
    (0x80, 0xA9),
    (0xAB, 0xB4),
    (0xB6, 0xB9),
    (0xBB, 0xBF),
    (0xD7, 0xD7),
    (0xF7, 0xF7),
    (0x1680, 0x1680),
    (0x2000, 0x206F),
    (0x20A0, 0x20CF),
    (0x2190, 0x2BFF),
    (0x2E00, 0x2E7F),
    (0x3000, 0x3004),
    (0x3008, 0x3020),
    (0x3030, 0x3030),
    (0xFE30, 0xFE6F),
    (0xFF00, 0xFF0F),
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
    (0xFFE0, 0xFFEE),
    (0xFFFD, 0xFFFD),
)
_BORDERS = [0x80, *(border for first, last in SYMBOL_RANGES for border in (first, last + 1)), sys.maxunicode + 1]
WORD_RANGES = (
    *((ord(pair[0]), ord(pair[1])) for pair in ("09", "AZ", "__", "az")),
    *((first, end - 1) for first, end in zip(_BORDERS[::2], _BORDERS[1::2]) if first < end),
)
_WORD = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in WORD_RANGES)
_WORDS = re.compile(f" ?[{_WORD}]+| ?[^ ]| ")


MOST_COUNTED = 1 << 20  # different words that are counted at once, in some 200 MB


class CharTokenizer(Tokenizer):
    """One token a character; the characters stand in the order of their code points."""

    kind, file, cuts_anywhere = "char", "vocabulary.txt", True

    def __init__(self, characters: Iterable[str]):
        self.characters = sorted(characters)
        super().__init__(_to_lines(self.characters), len(SPECIAL) + len(self.characters))
        self._points = np.array([0, ord(UNKNOWN_TEXT), 0, 0, *map(ord, self.characters)], "<u4")
        # One entry a code point up to the highest known, and one more for all above it.
        self._ids = np.full(int(self._points[len(SPECIAL) :].max(initial=0)) + 2, UNKNOWN, np.int32)
        self._ids[self._points[len(SPECIAL) :]] = np.arange(len(SPECIAL), self.size)

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        return self._ids[np.minimum(points, np.uint32(len(self._ids) - 1))], lengths

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._points[without_marks(ids)].tobytes().decode("utf-32-le", "surrogatepass")


class ByteTokenizer(Tokenizer):
    """One token a byte of the UTF-8 text: id 4 is byte 0, so that records hold the text itself. What is not UTF-8
    decodes to U+FFFD.
    """

    kind, file, cuts_anywhere, lowest = "byte", None, True, len(SPECIAL)

    def __init__(self) -> None:
        super().__init__(b"", len(SPECIAL) + 256)

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        stored, lengths, _ = self.store_all(texts)
        return read_ids(np.frombuffer(stored, np.uint8), self.lowest), lengths

    def store_all(self, texts: Sequence[str]) -> tuple[bytes, np.ndarray, int]:
        encoded = [text.encode("utf-8", "replace") for text in texts]
        return b"".join(encoded), np.fromiter(map(len, encoded), np.int64, len(encoded)), 0

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        # The unknown token, which no text encodes to, is a byte that is never valid.
        kept = without_marks(ids)
        return (
            np.where(kept == UNKNOWN, 0xFF, kept - len(SPECIAL)).astype(np.uint8).tobytes().decode("utf-8", "replace")
        )


class WordTokenizer(Tokenizer):
    """One token a word or a single other character, each with the one space before it, if there is one.

    So `the` at the start of a line and ` the` within it are two entries, a newline is a token, of several spaces all
    but the last are tokens of their own, and the tokens joined are the text. Words are runs of ASCII letters, digits,
    `_` and whatever lies above U+007F outside SYMBOL_RANGES. Entries stand in the order of their frequency.
    """

    kind, file = "word", "vocabulary.txt"

    def __init__(self, words: Sequence[str]):
        self.words = list(words)
        super().__init__(_to_lines(self.words), len(SPECIAL) + len(self.words))
        self._ids = {word: index for index, word in enumerate(self.words, len(SPECIAL))}
        self._texts = np.array(["", UNKNOWN_TEXT, "", "", *self.words], object)

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        words = [_WORDS.findall(text) for text in texts]
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        known = self._ids.get
        return np.fromiter(
            (known(word, UNKNOWN) for word in chain.from_iterable(words)), np.int32, int(lengths.sum())
        ), lengths

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return "".join(self._texts[np.asarray(ids, np.int64)].tolist())


def count(kind: str, texts: Iterable[str]) -> Counter[str]:
    """How often each character (char) or word (word) is in `texts`; of too many different words, the most frequent."""
    counts: Counter[str] = Counter()
    for text in texts:
        if kind == "word":
            counts.update(_WORDS.findall(text))
            keep_frequent(counts)
            continue
        points = np.bincount(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"))
        counts.update({chr(point): int(points[point]) for point in np.flatnonzero(points)})
    return counts


def keep_frequent(counts: Counter[str]) -> None:
    """Leaves the most frequent half of MOST_COUNTED entries where there are more than those."""
    if len(counts) > MOST_COUNTED:
        kept = _most_frequent(counts, MOST_COUNTED // 2)
        for entry in set(counts).difference(kept):
            del counts[entry]


def from_counts(kind: str, counts: Counter[str], size: int | None = None) -> Tokenizer:
    """The vocabulary of all characters, or of the most frequent ones or words, special tokens included in `size`."""
    if kind == "char":
        return CharTokenizer(_most_frequent(counts, None if size is None else size - len(SPECIAL)))
    return WordTokenizer(_most_frequent(counts, (size or DEFAULT_SIZE) - len(SPECIAL)))


def build(kind: str, texts: Iterable[str], size: int | None = None, **options: Any) -> Tokenizer:
    """Makes a vocabulary from training texts.

    Args:
      kind: `char`, `byte`, `word` or `sentencepiece`.
      texts: the documents, or parts of them.
      size: most ids, special tokens included; None is every character (char) or DEFAULT_SIZE.
      options: `model_type` of sentencepiece, bpe or unigram.

    Raises:
      VocabularySizeError: the texts do not give `size` sentencepiece entries, or hold more characters than that.
    """
    if kind == "byte":
        return ByteTokenizer()
    if kind == "sentencepiece":
        return SentencepieceTokenizer.build(texts, size, **options)
    return from_counts(kind, count(kind, texts), size)


def from_content(kind: str, content: bytes) -> Tokenizer:
    """The tokenizer of a vocabulary file's content; ValueError where that is damaged."""
    if kind == "byte":
        return ByteTokenizer()
    if kind == "sentencepiece":
        return SentencepieceTokenizer(content)
    kinds: dict[str, Callable[[list[str]], Tokenizer]] = {"char": CharTokenizer, "word": WordTokenizer}
    return kinds[kind](_from_lines(content))


def load(kind: str, directory: str | Path, sha256: str | None = None, file: str | None = None) -> Tokenizer:
    """Reads the vocabulary that `save` wrote into a directory, from `file` where it has another name than the kind's
    own.

    Raises:
      DataError: it is missing or damaged, or its checksum is not `sha256`; the text names the file.
    """
    files = {
        "byte": None,
        "sentencepiece": SentencepieceTokenizer.file,
        "char": CharTokenizer.file,
        "word": WordTokenizer.file,
    }
    path = Path(directory) / (file or files[kind] or ".")
    try:
        content = path.read_bytes() if files[kind] else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore it or prepare the dataset again") from None
    if sha256 is not None and checksum(kind, content) != sha256:
        raise DataError(
            f"{path} is another vocabulary than was written with this dataset; restore it or prepare the dataset again"
        )
    try:
        return from_content(kind, content)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} is damaged ({error}); restore it or prepare the dataset again") from None


def _most_frequent(counts: Counter[str], most: int | None) -> list[str]:
    """The entries by falling frequency, equal ones in their own order."""
    return sorted(counts, key=lambda entry: (-counts[entry], entry))[:most]


def _to_lines(entries: Sequence[str]) -> bytes:
    # A lone surrogate is not UTF-8; JSON's escapes write any string.
    return "".join(f"{line}\n" for line in [*SPECIAL, *map(json.dumps, entries)]).encode()


def _from_lines(content: bytes) -> list[str]:
    lines = content.decode("utf-8").split("\n")
    if tuple(lines[: len(SPECIAL)]) != SPECIAL or lines[-1]:
        raise ValueError("it does not begin with the special tokens, or its end is missing")
    entries = [json.loads(line) for line in lines[len(SPECIAL) : -1]]
    for entry in entries:
        str(entry).encode()  # ValueError where it holds half of a character, which no text has
    return entries

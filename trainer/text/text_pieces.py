"""Text in pieces that fit into memory, each read by itself, in any process of any host.

What a piece holds is text (`stream`), or the entries of a list: lines that are not blank (`documents`), all lines
(`lines`), or lines with one tab (`tabs`). Its units, which splits count, are characters of a stream and entries of a
list. Text is UTF-8; a byte order mark is dropped, CR LF is read as LF. A list is cut after line feeds, so that a line
is in one piece however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import google_crc32c
import numpy as np

from trainer.dataset.input_files import line_of, not_utf8, nul_byte
from trainer.errors import DataError

PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 16
_LONGEST_CHARACTER = 4  # bytes

Content = str | Sequence[Any]  # text, or entries: texts or pairs of texts


class Facts(NamedTuple):
    """The counts of a piece: they are the index by which a unit is found, and tells whether a file changes while it is
    read.
    """

    units: int
    characters: int
    blank: int  # lines that were left out
    crlf: int  # lines that end with CR LF
    crc32c: int


class Source(Protocol):
    """Text in pieces. Instances can be sent to other processes."""

    @property
    def name(self) -> str:
        """Where it is from, for errors."""

    @property
    def pieces(self) -> int: ...

    @property
    def is_stream(self) -> bool:
        """Whether it holds text, and no list."""

    def read(self, piece: int) -> tuple[Content, Facts]:
        """A piece and what is in it; DataError where it cannot be read."""


@dataclass(frozen=True)
class TextFile:
    """A file of text; `kind` is one of those above."""

    name: str
    kind: str
    size: int  # bytes
    piece_bytes: int

    @property
    def pieces(self) -> int:
        return max(1, -(-self.size // self.piece_bytes))

    @property
    def is_stream(self) -> bool:
        return self.kind == "stream"

    def read(self, piece: int) -> tuple[Content, Facts]:
        """Raises DataError where the file is missing, has another size than before, or is not UTF-8; line and file are
        told.
        """
        low, high = piece * self.piece_bytes, min((piece + 1) * self.piece_bytes, self.size)
        try:
            with Path(self.name).open("rb") as file:
                first, data = (_characters if self.is_stream else _lines)(file, low, high)
        except OSError as error:
            raise DataError(
                f"{self.name} cannot be read ({error.strerror}); check the path and its permissions"
            ) from None
        try:
            text = data.decode("utf-8-sig" if first == 0 else "utf-8")
        except UnicodeDecodeError:
            raise not_utf8(self.name) from None
        if b"\0" in data:
            raise nul_byte(self.name, first + data.index(0))
        crlf = data.count(b"\r\n") if b"\r" in data else 0  # the search for one byte is much faster
        if crlf:
            text = text.replace("\r\n", "\n")
        content, blank = split_text(text, self.kind)
        if self.kind == "tabs":
            self._check_tabs(content, first)
        return content, Facts(len(content), len(text), blank, crlf, google_crc32c.value(data))

    def _check_tabs(self, lines: Content, first: int) -> None:
        for number, line in enumerate(lines):
            if line and line.count("\t") != 1:
                place = f"{self.name} line {line_of(self.name, first) + number}"
                raise DataError(
                    f"{place}: has {line.count(chr(9))} tabs, a pair is source, one tab, target;"
                    " correct it, or give two files as in --input=source.txt,target.txt"
                )


def _characters(file: IO[bytes], low: int, high: int) -> tuple[int, bytes]:
    """Where the characters begin whose first bytes lie in `[low, high)` of a file, and the bytes of these; CR LF is
    taken for one.
    """
    before = min(low, 1)
    file.seek(low - before)
    near = file.read(before + high - low + _LONGEST_CHARACTER)
    first, end = (_character(near, position - low + before) for position in (low, high))
    return low - before + first, near[first:end]


def _character(near: bytes, position: int) -> int:
    """The first place at or after `position` where a character begins."""
    if 0 < position < len(near):
        last = min(position + _LONGEST_CHARACTER, len(near))
        while position < last and near[position] & 0xC0 == 0x80:
            position += 1
        position += near[position - 1 : position + 1] == b"\r\n"
    return position


def _lines(file: IO[bytes], low: int, high: int) -> tuple[int, bytes]:
    """Where the lines begin that begin in `[low, high)` of a file, and the bytes of these.

    A byte is read once as one of `[low, high)` and at most once as one of a line that began before, so that long lines
    cost no more than short ones.
    """
    before = min(low, 1)
    file.seek(low - before)
    data = file.read(before + high - low)
    first = data.find(b"\n", 0, len(data) - 1) + 1 if before else 0
    if before and not first:
        return high, b""
    blocks = [data[first:]]
    while not blocks[-1].endswith(b"\n") and (block := file.read(_BLOCK_BYTES)):
        blocks.append(block[: (block.find(b"\n") + 1) or None])
    return low - before + first, b"".join(blocks)


@dataclass(frozen=True)
class Memory:
    """Texts that are in memory already, as one piece."""

    name: str
    content: Content
    pieces: int = 1

    @property
    def is_stream(self) -> bool:
        return isinstance(self.content, str)

    def read(self, piece: int) -> tuple[Content, Facts]:
        characters = (
            len(self.content) if isinstance(self.content, str) else sum(len("".join(entry)) for entry in self.content)
        )
        return self.content, Facts(len(self.content), characters, 0, 0, 0)


def split_text(text: str, kind: str) -> tuple[Content, int]:
    """The content of text that ends with a line or the file, and how many blank lines were left out."""
    if kind == "stream":
        return text, 0
    lines = text.removesuffix("\n").split("\n") if text else []
    if kind != "documents":
        return lines, 0
    kept = [line for line in lines if line and not line.isspace()]
    return kept, len(lines) - len(kept)


def open_text(path: str, kind: str) -> TextFile:
    """A file to read in pieces; DataError where it is missing or empty."""
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            blank = size <= 3 and file.read() in (b"", b"\xef\xbb\xbf")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    if blank:
        raise DataError(f"{path} is empty; give a file with text, or leave it out")
    return TextFile(path, kind, size, PIECE_BYTES)


class Indexed:
    """A source whose pieces have been counted, so that any of its units can be found."""

    def __init__(self, source: Source, facts: Sequence[Facts]):
        self.source = source
        self._crcs = [piece.crc32c for piece in facts]
        self._ends = np.cumsum([piece.units for piece in facts], dtype=np.int64)  # units before the end of each piece
        self._characters = np.cumsum([piece.characters for piece in facts], dtype=np.int64)
        self.blank, self.crlf = (sum(getattr(piece, name) for piece in facts) for name in ("blank", "crlf"))

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def units(self) -> int:
        return int(self._ends[-1])

    def characters(self, first: int, end: int) -> int:
        """About how many characters the units `[first, end)` have: those of their pieces."""
        low, high = (int(np.searchsorted(self._ends, unit, side="right")) for unit in (first, end - 1))
        return int(self._characters[high] - (self._characters[low - 1] if low else 0))

    def stretches(self, first: int, end: int, pieces: int) -> list[tuple[int, int]]:
        """`[first, end)` cut at the ends of every so many pieces."""
        cuts = [int(cut) for cut in self._ends[pieces - 1 :: pieces] if first < cut < end]
        return [(low, high) for low, high in zip([first, *cuts], [*cuts, end]) if low < high]

    def read(self, first: int, end: int) -> Iterator[Content]:
        """Yields the units `[first, end)`, piece by piece; DataError where the file is not what it was when it was
        counted.
        """
        while first < end:
            piece = int(np.searchsorted(self._ends, first, side="right"))  # those that a long line fills have no units
            content, facts = self.source.read(piece)
            before = int(self._ends[piece - 1]) if piece else 0
            if facts.crc32c != self._crcs[piece] or facts.units != self._ends[piece] - before:
                raise DataError(
                    f"{self.name} changed while it was read; prepare it again when it is at rest, with another "
                    "--output_dir"
                )
            yield content[first - before : end - before]
            first = min(end, int(self._ends[piece]))

    def entries(self, first: int, end: int) -> Iterator[Any]:
        """The entries `[first, end)` of a list, one by one."""
        for content in self.read(first, end):
            yield from content


def count_pieces(job: Sequence[tuple[Source, int]]) -> list[Facts]:
    """The facts of pieces, each given by its source and number."""
    return [source.read(piece)[1] for source, piece in job]

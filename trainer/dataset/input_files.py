"""The files that --input and its like name."""

from __future__ import annotations

import codecs
import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainer.config.prepare import PrepareConfig
from trainer.errors import DataError, LocationError

_BLOCK_BYTES = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # the first begins with one of UTF-16
_START_BYTES = 1 << 10  # by which an encoding is known


def find_files(patterns: Sequence[str]) -> list[str]:
    """The files that paths and globs (`**` included) name: each once, a glob's in order of their names.

    Raises:
      DataError: a pattern names no file; the text names the pattern.
      LocationError: a pattern is an address of another kind than gs://, which `Workspace` has made local paths before.
    """
    files: dict[str, None] = {}
    for pattern in patterns:
        if "://" in pattern:
            raise LocationError(pattern, "is neither a local path nor a gs:// address", "copy the file here first")
        path = Path(pattern)
        if path.is_dir():
            raise DataError(f"{pattern} is a directory; name its files, as in '{pattern.rstrip('/')}/*.csv'")
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute patterns)
        matches = [pattern] if path.exists() else sorted(name for name in names if Path(name).is_file())
        if not matches:
            raise DataError(f"{pattern} names no file; check the path (it is relative to {Path.cwd()})")
        files.update(dict.fromkeys(matches))
    return list(files)


def find_split_files(config: PrepareConfig) -> dict[str, list[str]]:
    """The files of each split: those of --input (as train, to be split), --validation_input and --test_input.

    Raises:
      DataError, LocationError: as `find_files`; LocationError for a file that is named twice too.
    """
    files_of = {
        "train": find_files(config.input),
        "validation": find_files(config.validation_input),
        "test": find_files(config.test_input),
    }
    counts = Counter(os.path.realpath(path) for files in files_of.values() for path in files)
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
        raise LocationError(twice[0], "is named twice or in two splits", "name each file once")
    return files_of


def readable(path: str) -> str:
    """A path or a part of one as a name in a dataset: bytes that are no UTF-8 become U+FFFD."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def not_utf8(path: str) -> DataError:
    """The error that tells of a file that is not UTF-8 text: its encoding where its start tells it, else the line."""
    return _other_encoding(path) or DataError(
        f"{path} line {undecodable_line(path)}: is not UTF-8 text; save the file as UTF-8"
    )


def nul_byte(path: str, position: int) -> DataError:
    """The error that tells of a file with a NUL byte at `position`, from 0: no text has one, but UTF-16 and UTF-32 are
    full of them.
    """
    reason = (
        f"{path} line {line_of(path, position)}: has a NUL byte (byte {position + 1} of the file), which no text has"
    )
    remedy = "restore the file, or if it is UTF-16 save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
    return _other_encoding(path) or DataError(f"{reason}; {remedy}")


def _other_encoding(path: str) -> DataError | None:
    """The error that tells of UTF-16 or UTF-32, known by a byte order mark or by NUL bytes in the same half of most
    characters.
    """
    with Path(path).open("rb") as file:
        start = file.read(_START_BYTES)
    for marks, encoding in ((_UTF32_MARKS, "UTF-32"), (_UTF16_MARKS, "UTF-16")):
        if start.startswith(marks):
            return DataError(
                f"{path} is {encoding} text, by its byte order mark; save the file as UTF-8 (iconv -f {encoding} -t "
                "UTF-8)"
            )
    even, odd = start[::2].count(0), start[1::2].count(0)
    if not 0.3 * len(start) < even + odd <= 0.75 * len(start):
        return None
    encoding = f"UTF-{32 if min(even, odd) > len(start) / 8 else 16}{'LE' if odd > even else 'BE'}"
    first = start.index(0)
    reason = f"has NUL bytes (the first is byte {first + 1}) as {encoding} text without a byte order mark has them"
    return DataError(
        f"{path} line {line_of(path, first)}: {reason}; save the file as UTF-8 (iconv -f {encoding} -t UTF-8)"
    )


def line_of(path: str, position: int) -> int:
    """The line, from 1, that byte `position` of a file is in."""
    line = 1
    with Path(path).open("rb") as file:
        while position > 0 and (block := file.read(min(position, _BLOCK_BYTES))):
            line += block.count(b"\n")
            position -= len(block)
    return line


def undecodable_line(path: str) -> int:
    """The first line, from 1, of a file that is not UTF-8 text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with Path(path).open("rb") as file:  # by blocks: a line may be longer than the memory
        while True:
            block = file.read(_BLOCK_BYTES)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return line + error.object[: error.start].count(b"\n")
            if not block:
                return line
            line += block.count(b"\n")

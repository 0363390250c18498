"""The files that --input and its like name."""

from __future__ import annotations

import codecs
import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainer.errors import ConfigError, DataError, Problem
from trainer.prepare_config import PrepareConfig

_BLOCK_BYTES = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # the first begins with one of UTF-16


def find_files(patterns: Sequence[str], flag: str = "input") -> list[str]:
    """The files that paths and globs (`**` included) name: each once, a glob's in order of their names.

    Raises:
      DataError: a pattern names no file; the text names the pattern.
      ConfigError: a pattern is a gs:// address.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if "://" in pattern:
            raise ConfigError([Problem(flag, pattern, "is no local path", "copy the file here first (gcloud storage cp)")])
        path = Path(pattern)
        if path.is_dir():
            raise DataError(f"--{flag}={pattern} is a directory; name its files, as in --{flag}={pattern.rstrip('/')}/*.csv")
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute patterns)
        matches = [pattern] if path.exists() else sorted(name for name in names if Path(name).is_file())
        if not matches:
            raise DataError(f"--{flag}={pattern} names no file; check the path (it is relative to {Path.cwd()})")
        found.update(dict.fromkeys(matches))
    return list(found)


def find_split_files(config: PrepareConfig) -> dict[str, list[str]]:
    """The files of each split: those of --input (as train, to be split), --validation_input and --test_input.

    Raises:
      DataError, ConfigError: as `find_files`; ConfigError for a file that is named twice too.
    """
    given = {
        "train": find_files(config.input),
        "validation": find_files(config.validation_input, "validation_input"),
        "test": find_files(config.test_input, "test_input"),
    }
    counts = Counter(os.path.realpath(path) for files in given.values() for path in files)
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
        raise ConfigError([Problem("input", twice[0], "is named twice or in two splits", "name each file once")])
    return given


def readable(path: str) -> str:
    """A path or a part of one as a name in a dataset: bytes that are no UTF-8 become U+FFFD."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def not_utf8(path: str) -> DataError:
    """The error that tells of a file that is no UTF-8 text: its encoding where a byte order mark tells it, else the line."""
    with Path(path).open("rb") as file:
        start = file.read(4)
    for marks, encoding in ((_UTF32_MARKS, "UTF-32"), (_UTF16_MARKS, "UTF-16")):
        if start.startswith(marks):
            return DataError(f"{path} is {encoding} text, by its byte order mark; save the file as UTF-8 (iconv -f {encoding} -t UTF-8)")
    return DataError(f"{path} line {undecodable_line(path)}: is no UTF-8 text; save the file as UTF-8")


def undecodable_line(path: str) -> int:
    """The first line, from 1, of a file that is no UTF-8 text."""
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

"""The files that --input and its like name."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainer.errors import ConfigError, DataError, Problem
from trainer.prepare_config import PrepareConfig


def find_files(patterns: Sequence[str], flag: str = "input") -> list[str]:
    """The files that paths and globs (`**` included) name: each once, a glob's in order of their names.

    Raises:
      DataError: a pattern names no file; the text names the pattern.
      ConfigError: a pattern is an address of another kind than gs://, which `Workspace` has made local paths before.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if "://" in pattern:
            raise ConfigError([Problem(flag, pattern, "is no local path and no gs:// address", "copy the file here first")])
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


def undecodable_line(path: str) -> int:
    """The first line, from 1, of a file that is no UTF-8 text."""
    with Path(path).open("rb") as file:
        for line, content in enumerate(file, start=1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError:
                return line
    return 1

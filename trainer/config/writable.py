"""Whether the outputs of a command can be written, looked up before the work that they are of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trainer.config.places import Places
from trainer.errors import Problem
from trainer.storage.addresses import is_address


def problems(places: Places) -> Iterator[Problem]:
    """Yields a problem for each local output that this user may not write, or something is in the way of.

    For commands that run here: the paths of a job are those of its pods.
    """
    for paths, reason_of, kind in (
        (places.written_files, _file_reason, "file"),
        (places.written_directories, _directory_reason, "directory"),
    ):
        for flag, path in paths.items():
            if path and not is_address(path) and (reason := reason_of(Path(path))) is not None:
                yield Problem(flag, path, reason, f"name a {kind} that can be written")


def _file_reason(path: Path) -> str | None:
    if path.is_dir():
        return "is a directory"
    if path.exists() and not path.is_file():  # a pipe or a device
        return None
    # A link stays, and the file that it leads to is replaced by one beside it.
    return _directory_reason(Path(os.path.realpath(path)).parent)


def _directory_reason(path: Path) -> str | None:
    there = Path(os.path.realpath(path))
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        return f"cannot be written: {there} is a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"cannot be written: this user may not write {there}, or it is on a file system that is read-only"
    return None

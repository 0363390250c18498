"""Paths that TensorFlow takes for patterns where it reads checkpoints and models: `run[1]`, `lr=[0.1,0.2]`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

PATTERN_CHARACTERS = "*?[]\\"


def is_pattern_to_tensorflow(path: str) -> bool:
    return any(character in path for character in PATTERN_CHARACTERS)


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[str]:
    """The path of the same place, by a link where its name has such characters; it is good within the context.

    `path` itself need not exist, as is so with the common name of a checkpoint's files; its directory must.
    """
    if not is_pattern_to_tensorflow(str(path)):
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="plain-") as directory:
        link = Path(directory, "link")
        link.symlink_to(path.parent.resolve(), target_is_directory=True)
        if not is_pattern_to_tensorflow(path.name):
            yield str(link / path.name)
            return
        inner = Path(directory, "inner")
        inner.symlink_to(path.resolve(), target_is_directory=True)
        yield str(inner)

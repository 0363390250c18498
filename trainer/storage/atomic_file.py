"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

MOST_LINKS = 40  # that Linux follows


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to; it becomes `path` by one rename when the context ends well.

    Directories above are made as needed. On any error the temporary file is removed and what stood at `path` stays. A
    link stays too, and what it leads to is replaced. What cannot be replaced, such as a pipe or `/dev/stdout`, is given
    as it is.
    """
    if _is_stream(Path(path)):
        yield Path(path)
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(
        f".{target.name}.{uuid.uuid4().hex[:8]}"
    )  # every container may have the same process numbers
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    """Whether a path leads to a pipe, a device, or (by /proc, as /dev/stdout does) to a file that a process has
    open.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        return True
    step = path
    for _ in range(MOST_LINKS):
        if not step.is_symlink():
            break
        if os.path.realpath(step.parent).startswith("/proc/"):
            return True
        step = step.parent / step.readlink()
    return False

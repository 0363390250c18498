"""What a process uses at the moment, read from /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def use_of(process: int, temporary: Path, blocks: Path | None = None) -> dict[str, float]:
    """Threads, open files, files below `temporary`, anonymous memory (MB), and the blocks of Python's objects.

    `blocks` is the directory in which `soak_probe` writes for each process; None for this process itself.

    Raises:
      OSError: the process is gone.
    """
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    )
    use = {
        "threads": float(status["Threads"]),
        "files": float(len(os.listdir(f"/proc/{process}/fd"))),  # noqa: PTH208
        "temporary": float(
            sum(len(files) for _, _, files in os.walk(temporary))
        ),  # which passes over what vanishes meanwhile
        "anonymous_mb": int(status["RssAnon"].split()[0]) / 1024,
    }
    if blocks is not None:
        with contextlib.suppress(OSError, ValueError):
            use["blocks"] = float((blocks / str(process)).read_text(encoding="utf-8"))
    return use

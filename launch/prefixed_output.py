"""Lines of many processes in one log, each with the name of the one that wrote it."""

from __future__ import annotations

import sys
import threading
from typing import IO

_lock = threading.Lock()


def relay(source: IO[bytes], prefix: str) -> threading.Thread:
    """Starts a thread that copies `source` to stderr, line by line and each behind `prefix`, until its end.

    A last line without an end gets one, so that the next process's line starts on its own.
    """
    thread = threading.Thread(target=_copy, args=(source, prefix.encode()), name=prefix, daemon=True)
    thread.start()
    return thread


def _copy(source: IO[bytes], prefix: bytes) -> None:
    with source:
        for line in source:
            text = prefix + line if line.endswith(b"\n") else prefix + line + b"\n"
            with _lock:
                try:
                    sys.stderr.buffer.write(text)
                    sys.stderr.buffer.flush()
                except (OSError, ValueError):  # who read our log has left: go on reading, or the worker would stall on a full pipe
                    continue

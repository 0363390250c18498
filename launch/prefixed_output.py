"""Lines of many processes in one log, each with the name of the one that wrote it."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import IO

LAST_LINES = 5
_lock = threading.Lock()


class Relay:
    """A thread that copies `source` to stderr, line by line and each behind `prefix`, until its end.

    A last line without an end gets one, so that the next process's line starts on its own.
    """

    def __init__(self, source: IO[bytes], prefix: str):
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._thread = threading.Thread(target=self._copy, args=(source, prefix.encode()), name=prefix, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Returns when all is copied, or after `seconds`: a daemon that the process left behind may hold the pipe."""
        self._thread.join(seconds)

    @property
    def last_lines(self) -> list[str]:
        """The newest lines that are not empty, without the prefix."""
        return [line.decode(errors="replace") for line in self._last]

    def _copy(self, source: IO[bytes], prefix: bytes) -> None:
        with source:
            for line in source:
                content = line.rstrip()
                if content:
                    self._last.append(content)
                text = prefix + line if line.endswith(b"\n") else prefix + line + b"\n"
                with _lock:
                    try:
                        sys.stderr.buffer.write(text)
                        sys.stderr.buffer.flush()
                    except (
                        OSError,
                        ValueError,
                    ):  # who read our log has left: go on reading, or the worker would stall on a full pipe
                        continue

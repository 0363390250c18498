"""Standard streams that are closed, full, or read by nobody: a command goes on without them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO

_MODES = ("r", "w", "w")  # of stdin, stdout, stderr


class BestEffort:
    """A text stream whose writes may be lost: what it says is for people, and the work does not depend on them."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # the reader has left, the disk is full, the terminal is closed
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect() -> None:
    """Opens standard streams that are closed, so that no file of ours takes their numbers, and makes errors on stderr
    harmless.
    """
    for number, (name, mode) in enumerate(zip(("stdin", "stdout", "stderr"), _MODES)):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
    if not isinstance(sys.stderr, BestEffort):
        sys.stderr = BestEffort(sys.stderr)  # type: ignore[assignment]

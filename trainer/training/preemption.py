"""Notices that the scheduler wants the machine back. No TensorFlow needed: it counts from the command's first line
on.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import NoReturn

from trainer.errors import EXIT_RESTART


class Preemption:
    """A context in which SIGTERM asks for a stop.

    Before `begin` there is nothing to save: the process leaves with 75 at once. After it, `asked` is set, and the loop
    saves and leaves after the visit in progress; `grace_seconds` later, or on a second SIGTERM, the process leaves with
    75 whatever it does.
    """

    def __init__(self) -> None:
        self.requested = False
        self._grace_seconds: float | None = None

    def begin(self, grace_seconds: float) -> None:
        """Tells that from now on somebody looks at `asked`, and how long that may take."""
        self._grace_seconds = grace_seconds
        # Once more: TensorFlow takes SIGTERM for itself when it joins a cluster (the notifier of its coordination
        # service).
        signal.signal(signal.SIGTERM, self._on_signal)

    def __enter__(self) -> Preemption:
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._grace_seconds is None:
            _leave("asked to stop before training began; run the same command again")
        if self.requested:
            _leave("asked to stop a second time; run the same command again to go on from the last checkpoint")
        self.requested = True
        text = (
            f"not saved {self._grace_seconds:g} s (--grace_seconds) after being asked to stop; run the same "
            "command again"
        )
        timer = threading.Timer(self._grace_seconds, _leave, [text])
        timer.daemon = True
        timer.start()


def _leave(text: str) -> NoReturn:
    os.write(2, f"error: {text}\n".encode())
    os._exit(EXIT_RESTART)

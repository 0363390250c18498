"""Notices that the scheduler wants the machine back."""

from __future__ import annotations

import os
import signal
from types import FrameType

from trainer.errors import EXIT_RESTART


class Preemption:
    """A context in which SIGTERM asks for a stop (`asked`) after the visit in progress; a second SIGTERM leaves at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Preemption:
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(EXIT_RESTART)
        self.asked = True

"""Notices that somebody wants the run to stop: the scheduler, a closed terminal, Ctrl-C. No TensorFlow needed: it
counts from the command's first line on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn

from trainer.errors import EXIT_INTERRUPTED, EXIT_RESTART, InterruptError, RestartError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def heeded_signals() -> list[signal.Signals]:
    """Those of `STOP_SIGNALS` that this process was not started to ignore, as `nohup` and shells in the background have
    it.
    """
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def exit_code(number: int | None) -> int:
    """How a run ends that a signal stopped: 130 after Ctrl-C, else 75, so that a scheduler starts it again."""
    return EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESTART


class Preemption:
    """A context in which SIGTERM, SIGHUP and SIGINT ask for a stop.

    Before `begin` there is nothing to save: the process leaves at once. After it, `requested` is set, and the loop
    saves and leaves after the inner loop in progress; `grace_seconds` later, or on a second signal, the process leaves
    whatever it does. SIGINT gives 130, the others 75.
    """

    def __init__(self) -> None:
        self.requested = False
        self._signal: int | None = None  # the first that came
        self._grace_seconds: float | None = None
        self._before: dict[int, Any] = {}

    def begin(self, grace_seconds: float) -> None:
        """Tells that from now on somebody looks at `requested`, and how long that may take."""
        self._grace_seconds = grace_seconds
        # Once more: TensorFlow takes SIGTERM for itself when it joins a cluster (the notifier of its coordination
        # service).
        for number in self._before:
            signal.signal(number, self._on_signal)

    def stop(self, step: int) -> RestartError | InterruptError:
        """The error that ends a run whose `step` is saved."""
        kind = InterruptError if self._signal == signal.SIGINT else RestartError
        return kind(f"asked to stop: step {step} is saved; run the same command again to go on")

    def __enter__(self) -> Preemption:
        self._before = {number: signal.signal(number, self._on_signal) for number in heeded_signals()}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._grace_seconds is None:
            _leave("asked to stop before training began; run the same command again", number)
        if self.requested:
            _leave("asked to stop a second time; run the same command again to go on from the last checkpoint", number)
        self.requested, self._signal = True, number
        text = (
            f"not saved {self._grace_seconds:g} s (--grace_seconds) after being asked to stop; run the same "
            "command again"
        )
        timer = threading.Timer(self._grace_seconds, _leave, [text, number])
        timer.daemon = True
        timer.start()


def _leave(text: str, number: int) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody reads our errors any more
        os.write(2, f"error: {text}\n".encode())
    os._exit(exit_code(number))

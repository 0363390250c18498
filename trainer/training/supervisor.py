"""A watchdog outside the interpreter: the command's first process stays small and watches the one that trains.

A worker can hang where no Python runs: in the strategy's constructor while a peer never comes, in a collective while a
peer is frozen, in a call that holds the interpreter's lock. A thread cannot end that, and a helper that kills the
trainer cannot choose its exit code. So the process that was started forks before TensorFlow is imported: the child
trains and gives signs of life through a pipe, the parent passes signals and the exit code on, and after too long a
silence kills the child and leaves with 75. The child dies with its parent (PR_SET_PDEATHSIG, Linux), whatever ends it.

To freeze or kill the trainer itself in a test, aim at the child (`/proc/PID/task/PID/children`).
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import time
from collections.abc import Collection

from trainer.errors import EXIT_RESTART
from trainer.training.exit_status import describe, died_by_itself
from trainer.training.preemption import exit_code, heeded_signals

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5
MARGIN_SECONDS = 2.0  # after the grace period, for a child that is leaving by itself
ALIVE, BEGUN = b".", b"L"


class Heartbeat:
    """The child's end: signs of life. Without a supervisor (one host) it does nothing."""

    def __init__(self, pipe: int | None = None):
        self._pipe = pipe

    def beat(self) -> None:
        """Tells that the run goes on; to be called more often than every `--peer_timeout_seconds`."""
        self._tell(ALIVE)

    def begin(self) -> None:
        """Tells that training begins: from now on a request to stop is answered by saving."""
        self._tell(BEGUN)

    def _tell(self, sign: bytes) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):  # the parent is stopped and the pipe full: nothing to tell
                os.write(self._pipe, sign)


def supervise(peer_timeout_seconds: float, grace_seconds: float) -> Heartbeat:
    """Forks. Returns in the child; the parent watches it and ends with its exit code.

    Call it before threads are started. A child killed by a signal gives 128 plus the signal's number; one that was
    silent for `peer_timeout_seconds`, or had not left `grace_seconds` after being asked to stop, is killed and gives 75
    (130 after Ctrl-C).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    parent = os.getpid()
    signals = (*heeded_signals(), signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become_child(parent, signals)
        return Heartbeat(writer)
    os.close(writer)
    code = _Watch(child, reader, signals, peer_timeout_seconds, grace_seconds).run()
    os._exit(code)


def _become_child(parent: int, signals: Collection[signal.Signals]) -> None:
    os.setpgid(0, 0)  # signals to the whole group (Ctrl-C) come from the parent alone, and so once
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_RESTART)
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)  # works while the interpreter's lock is held
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


class _Watch:
    """The parent's loop."""

    def __init__(
        self,
        child: int,
        reader: int,
        signals: Collection[signal.Signals],
        peer_timeout_seconds: float,
        grace_seconds: float,
    ):
        self._child, self._reader, self._signals = child, reader, signals
        self._timeout, self._grace = peer_timeout_seconds, grace_seconds
        self._begun = False
        self._stop_by: float | None = None  # when the grace period ends
        self._stopped_by: int | None = None  # the signal
        self._last_sign = time.monotonic()

    def run(self) -> int:
        while True:
            code = self._ended()
            if code is not None:
                return code
            info = signal.sigtimedwait(self._signals, POLL_SECONDS)
            self._read_signs()
            if info is not None and info.si_signo != signal.SIGCHLD:
                if not self._begun or self._stop_by is not None:
                    why = "asked to stop a second time" if self._begun else "asked to stop, and nothing to save"
                    return self._kill(why, exit_code(info.si_signo))
                self._stop_by = time.monotonic() + self._grace + MARGIN_SECONDS
                self._stopped_by = info.si_signo
                os.kill(self._child, info.si_signo)
            now = time.monotonic()
            if self._stop_by is not None and now > self._stop_by:
                why = f"not saved {self._grace:g} s (--grace_seconds) after being asked to stop"
                return self._kill(why, exit_code(self._stopped_by))
            if now - self._last_sign > self._timeout:
                return self._silent()

    def _ended(self) -> int | None:
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        if died_by_itself(code):
            logger.error("the process that trains %s; its last lines stand above", describe(code))
        return code if code >= 0 else 128 - code

    def _read_signs(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while signs := os.read(self._reader, 4096):
                self._last_sign = time.monotonic()
                self._begun = self._begun or BEGUN in signs

    def _silent(self) -> int:
        os.kill(self._child, signal.SIGUSR1)  # the child tells where it hangs, if it can
        time.sleep(POLL_SECONDS)
        what = "training" if self._begun else "starting (waiting for its peers, most likely)"
        return self._kill(
            f"silent for {self._timeout:g} s (--peer_timeout_seconds) while {what}; a peer hangs or is missing, or "
            "this one does"
        )

    def _kill(self, why: str, code: int = EXIT_RESTART) -> int:
        logger.error("worker stopped: %s; start the group again", why)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        return code

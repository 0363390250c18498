"""How a process ended, in words, from its exit status."""

from __future__ import annotations

import contextlib
import signal

_VERBS = {
    signal.SIGABRT: "was aborted",
    signal.SIGSEGV: "crashed",
    signal.SIGBUS: "crashed",
    signal.SIGILL: "crashed",
    signal.SIGFPE: "crashed",
    signal.SIGKILL: "was killed",
    signal.SIGTERM: "was ended",
    signal.SIGHUP: "was ended",
}
# A process gets these by what it did itself: an abort of the C++ runtime, a bad address, an instruction that the
# processor lacks.
_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


def signal_of(code: int) -> int:
    """The signal that ended a process; 0 where none did.

    `code` is negative as `subprocess` has it, or above 128 by the shells' convention, as a parent passes on how its
    child ended.
    """
    return -code if code < 0 else max(0, code - 128)


def died_by_itself(code: int) -> bool:
    """Whether a process was ended by a signal of its own making, so that its last lines say why."""
    return signal_of(code) in _CRASHES


def describe(code: int) -> str:
    """`exited with 64`, `was aborted (SIGABRT)`, `was killed (SIGKILL)`, ...: to stand behind the name of a process."""
    number = signal_of(code)
    if not number:
        return f"exited with {code}"
    with contextlib.suppress(ValueError):
        known = signal.Signals(number)
        return f"{_VERBS.get(known, 'was ended')} ({known.name})"
    return f"exited with {code}" if code > 0 else f"was ended (signal {number})"

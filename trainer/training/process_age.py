"""How long ago this process was started, Python's own start and all imports included. Linux; no TensorFlow needed."""

from __future__ import annotations

import os
import time

from trainer.storage.process_start import start_ticks

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def _started() -> float:
    ticks = start_ticks("self")
    assert ticks is not None, "this process runs"
    return ticks / TICKS_PER_SECOND


_STARTED = _started()  # at the import, so that the child that a supervisor forks counts from the command's start


def seconds() -> float:
    """Seconds since the process was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - _STARTED

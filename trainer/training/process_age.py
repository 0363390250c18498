"""How long ago this process was started, Python's own start and all imports included. Linux; no TensorFlow needed."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_TIME = 19  # among the fields of /proc/PID/stat after the command's name: ticks since the machine was started


def _started() -> float:
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[START_TIME]) / TICKS_PER_SECOND


_STARTED = _started()  # at the import, so that the child that a supervisor forks counts from the command's start


def seconds() -> float:
    """Seconds since the process was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - _STARTED

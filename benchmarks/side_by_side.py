"""Libraries measured side by side: each in a process of its own that lives through the whole run and takes a few steps
when it is told to.

A slow moment of the machine hits all of them, and memory is each process's own. Linux only.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """`steps` were taken in `seconds`; the process's peak meanwhile was `peak_mb` above what it held when it was
    ready.
    """

    steps: float
    seconds: float
    peak_mb: float


class Meter:
    """The measured process's end: `ready` once imports and data are there, then `tick` after the steps taken."""

    def __init__(self) -> None:
        """From now on stdout is for answers; what else is printed goes to stderr."""
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._base = 0.0

    def ready(self) -> None:
        """Notes the memory in use, and returns when steps are wanted."""
        self._base = _memory_mb("VmRSS")
        self._wait()

    def tick(self, steps: int = 1) -> None:
        """Tells that `steps` more were taken; when they are enough, answers and waits."""
        self._taken += steps
        if self._taken < self._wanted:
            return
        seconds = time.perf_counter() - self._began
        print(self._taken, seconds, _memory_mb("VmHWM") - self._base, file=self._answers, flush=True)
        self._wait()

    def _wait(self) -> None:
        order = sys.stdin.readline()
        if not order:  # nobody asks any more
            os._exit(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
        self._wanted, self._taken, self._began = int(order), 0, time.perf_counter()


class Measured:
    """The asking process's end."""

    def __init__(self, name: str, command: Sequence[str]):
        # Keras as it comes, and ours, both with oneDNN, as the trainer sets it.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._name = name
        self._process = subprocess.Popen(command, text=True, bufsize=1, env=environment, **pipes)

    def __enter__(self) -> Measured:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def take(self, steps: int) -> Answer:
        """Has at least so many steps taken."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{steps}\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"the process that measures {self._name} ended with {self._process.wait()}; its errors stand above"
            )
        return Answer(*map(float, answer.split()))


def _memory_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def geomean_and_min(ratios: Sequence[float]) -> dict[str, float]:
    return {"geomean": round(math.exp(statistics.fmean(map(math.log, ratios))), 3), "min": round(min(ratios), 3)}

"""Processes that end together, even if the one that started them is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

# Leads the group and waits for the end of its stdin, which comes when the launcher closes it or dies in any way.
_GUARD = """
import os, signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.read(0, 1)
os.killpg(0, signal.SIGKILL)
"""


class ProcessGroup:
    """A context with the processes that `start` adds; at its end all of them are gone, with their children.

    They form one process group of their own, so that Ctrl-C on a terminal reaches the launcher alone. The group is led
    by a guard, a small process that kills the whole group as soon as the pipe from the launcher is closed: so nothing
    outlives even a launcher that was ended by SIGKILL. Only children that leave the group by themselves (daemons) are
    out of reach.
    """

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> ProcessGroup:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.setpgid(0, 0),
        )
        return self

    def start(
        self, command: Sequence[str], environ: Mapping[str, str], stdout: int | IO[bytes] | None
    ) -> subprocess.Popen[bytes]:
        """Starts one more process of the group, with stderr as a pipe and nothing to read from stdin.

        Call it before any thread is started: the child runs Python code of ours between fork and exec.
        """
        group = self._guard.pid
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.setpgid(0, group),
        )
        self.processes.append(process)
        return process

    def send(self, number: int) -> None:
        """Sends a signal to every process that still runs, and not to their children."""
        for process in self.processes:
            process.send_signal(number)  # nothing happens where it has ended

    def kill(self) -> None:
        """Ends all processes and their children at once, and waits for them."""
        if self._guard.returncode is None:  # until it is waited for, its number cannot be another group's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
        for process in self.processes:
            process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self._guard.stdin is not None
        self._guard.stdin.close()


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process is frozen (SIGSTOP, a debugger): no signal but SIGKILL moves it. False where the system cannot
    tell.
    """
    try:
        fields = (
            Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return False
    return fields[0] in ("T", "t")

"""A limit on the processes and threads of a command, as a pod has one: a pids cgroup for root, else RLIMIT_NPROC."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

CONTROLLERS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))  # version 1, version 2


@contextlib.contextmanager
def thread_limit(name: str, most: int) -> Iterator[list[str]]:
    """What to put before a command so that it and all that it starts have at most `most` processes and threads
    together.

    RLIMIT_NPROC counts everything of the user, and nothing where the user is root, whom only the cgroup holds.

    Raises:
      RuntimeError: root may make no cgroup here.
    """
    if os.geteuid() != 0:
        yield [shutil.which("prlimit") or "prlimit", f"--nproc={most + _threads_of_user()}", "--"]
        return
    group = _make(f"soak-{os.getpid()}-{name}")
    try:
        (group / "pids.max").write_text(str(most), encoding="utf-8")
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        _remove(group)


def _make(name: str) -> Path:
    for controller in CONTROLLERS:
        group = controller / name
        with contextlib.suppress(OSError):
            group.mkdir()
            if (group / "pids.max").exists():
                return group
            group.rmdir()
    raise RuntimeError("no pids cgroup can be made here: run as another user than root")


def _remove(group: Path) -> None:
    for _ in range(100):
        for process in (group / "cgroup.procs").read_text(encoding="utf-8").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)


def _threads_of_user() -> int:
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
            total += int(fields["Threads"]) if int(fields["Uid"].split()[0]) == os.geteuid() else 0
    return total

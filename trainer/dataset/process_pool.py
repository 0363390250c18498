"""Runs jobs in a pool of processes that end with their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TypeVar

from trainer.errors import StorageError

_THREADED = ("tensorflow", "grpc")  # that start threads which Python does not know of

Job = TypeVar("Job")
Result = TypeVar("Result")


def available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # those that a container may use
    return os.cpu_count() or 1


def keep_memory() -> None:
    """Has the C library keep freed memory for the next block of the size, up to 64 MB, where it gave it back and took
    it anew each time.

    It raises its thresholds once a large block is freed (mallopt, M_MMAP_THRESHOLD); pages that were never touched cost
    nothing.
    """
    bytes(31 << 20)


class Workers:
    """A context with so many processes; they start with the first jobs that are more than one."""

    def __init__(self, processes: int):
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Yields `function(job)` in order, from the pool where there are processes; `function` must be importable by
        name.

        Raises:
          StorageError: a process of the pool was killed. Whatever `function` raises is raised here.
        """
        if self.processes <= 1 or len(jobs) <= 1:
            keep_memory()
            yield from map(function, jobs)
            return
        if self._pool is None:
            # Workers leave Ctrl-C to the parent, and end with it.
            self._pool = ProcessPoolExecutor(
                self.processes, multiprocessing.get_context(_start_method()), initializer=_start_worker
            )
        try:
            yield from self._pool.map(function, jobs)
        except BrokenProcessPool:
            raise StorageError(
                "a worker process was killed, most likely for want of memory; use fewer --num_processes"
            ) from None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            with contextlib.suppress(OSError):
                self._pool.shutdown(cancel_futures=True)


def _start_method() -> str:
    """`fork`, which is quick, unless there are threads: they would be missing in the new processes, with the locks that
    they hold.
    """
    threads = threading.active_count() > 1 or not sys.modules.keys().isdisjoint(_THREADED)
    return "fork" if sys.platform == "linux" and not threads else "spawn"


def _start_worker() -> None:
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()

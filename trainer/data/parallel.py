"""Runs jobs in a pool of processes that end with their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from trainer.errors import StorageError

Job = TypeVar("Job")
Result = TypeVar("Result")


def available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # those that a container may use
    return os.cpu_count() or 1


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Yields `function(job)` in order, from a pool where `processes` is above 1; `function` must be importable by name.

    Raises:
      StorageError: a process of the pool was killed. Whatever `function` raises is raised here.
    """
    if processes <= 1 or len(jobs) <= 1:
        yield from map(function, jobs)
        return
    # Not forked: the caller may have threads. Workers leave Ctrl-C to the parent, and end with it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(jobs)), context, initializer=_start_worker)
    try:
        yield from pool.map(function, jobs)
    except BrokenProcessPool:
        raise StorageError("a worker process was killed, most likely for want of memory; use fewer --num_processes") from None
    finally:
        with contextlib.suppress(OSError):
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()

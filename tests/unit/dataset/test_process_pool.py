"""Pools of processes: forked where that is safe, and jobs in their order either way."""

from __future__ import annotations

import math
import sys
import threading

import pytest

from trainer.dataset import process_pool as parallel


@pytest.mark.parametrize(("threads", "modules", "method"), [(1, (), "fork"), (2, (), "spawn"), (1, ("math",), "spawn")])
def test_processes_are_forked_only_without_threads(
    threads: int, modules: tuple[str, ...], method: str, monkeypatch
) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    monkeypatch.setattr(parallel, "_THREADED", modules)
    monkeypatch.setattr(sys, "platform", "linux")
    assert parallel._start_method() == method


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_jobs_come_back_in_order(method: str, monkeypatch) -> None:
    monkeypatch.setattr(parallel, "_start_method", lambda: method)
    with parallel.Workers(2) as workers:
        for _ in range(2):
            assert list(workers.run(math.isqrt, [100, 4, 81])) == [10, 2, 9]
        with pytest.raises(ValueError, match="nonnegative"):
            list(workers.run(math.isqrt, [1, -1]))

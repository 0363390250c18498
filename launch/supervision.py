"""Runs a group of workers to its end: forwards signals, restarts the whole group, stops all when one fails."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from launch.ports import HOST, reserved_ports
from launch.prefixed_output import Relay
from launch.process_group import ProcessGroup, is_stopped
from trainer.errors import EXIT_DEFECT, EXIT_DONE, EXIT_INTERRUPTED, EXIT_RESTART
from trainer.training.exit_status import describe, died_by_itself, signal_of
from trainer.training.preemption import heeded_signals

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
STOP_SECONDS = 5.0  # for workers to leave after a failure of another one, or after a second signal
LAST_LINES_SECONDS = 1.0  # for what a dead worker wrote to arrive
MARGIN_SECONDS = 5.0  # beyond the trainer's own grace period
# How a process ends that somebody took away: the machine ran out of memory, or a scheduler wanted it back. A crash is
# none of these.
LOST = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Worker:
    """One worker's command, and the variables that its environment has beside ours."""

    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


def supervise(workers: Sequence[Worker], restarts: int, grace_seconds: float) -> int:
    """Runs all workers until they are done, and gives the exit code for the whole group.

    Each gets its place in the cluster as TF_CONFIG, with new ports at every start. Worker 0 writes on our stdout; what
    all others write, and the logs of all, goes to stderr behind `[worker 1] `.

    Args:
      workers: what to run, in the order of their index.
      restarts: how often the whole group is started again after a worker was lost or left with 75.
      grace_seconds: how long the others get to save and leave after the first one has left, or a signal came.
    """
    with Signals() as signals:
        for attempt in range(restarts + 1):
            code = _run_once(workers, signals, grace_seconds)
            if code != EXIT_RESTART or signals.last is not None:
                break
            if attempt < restarts:
                logger.info("restart %d of %d: all %d workers start again", attempt + 1, restarts, len(workers))
            elif restarts:
                logger.warning("all %d restarts are used up; run the same command again to go on", restarts)
        interrupted = signals.last == signal.SIGINT and code != EXIT_DONE
    return EXIT_INTERRUPTED if interrupted else code


class Signals:
    """A context in which requests to stop are kept to be forwarded; `last` is the newest signal, None before any."""

    def __init__(self) -> None:
        self.last: int | None = None
        self._waiting: list[int] = []

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._on_signal) for number in heeded_signals()}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.last = number
        self._waiting.append(number)

    def take(self) -> Iterator[int]:
        while self._waiting:
            yield self._waiting.pop(0)


def tf_config(ports: Sequence[int], index: int) -> str:
    """Worker `index`'s place in a cluster on this host, as TF_CONFIG tells it."""
    return json.dumps(
        {"cluster": {"worker": [f"{HOST}:{port}" for port in ports]}, "task": {"type": "worker", "index": index}}
    )


def verdict(codes: Sequence[int]) -> int:
    """The exit codes of all workers as one: 0 all done, 75 start again, 130 interrupted, else the code of the first
    that failed.

    Codes are those of `subprocess`: negative ones are signals, as are those from 129 on, by the shells' convention.
    """
    for code in codes:
        if is_failure(code):
            return code if code > 0 else EXIT_DEFECT
    if EXIT_INTERRUPTED in codes:
        return EXIT_INTERRUPTED
    return EXIT_RESTART if any(codes) else EXIT_DONE


def is_failure(code: int) -> bool:
    """Whether an exit code is one that starting again would not mend."""
    return code not in (EXIT_DONE, EXIT_RESTART, EXIT_INTERRUPTED) and signal_of(code) not in LOST


def _run_once(workers: Sequence[Worker], signals: Signals, grace_seconds: float) -> int:
    with reserved_ports(len(workers)) as ports, ProcessGroup() as group:
        for index, worker in enumerate(workers):
            environ = {**os.environ, **worker.environ, "TF_CONFIG": tf_config(ports, index)}
            process = group.start(worker.command, environ, stdout=None if index == 0 else subprocess.PIPE)
            logger.info("worker %d is process %d on %s:%d", index, process.pid, HOST, ports[index])
        relays = [
            [Relay(pipe, f"[worker {index}] ") for pipe in (process.stdout, process.stderr) if pipe]
            for index, process in enumerate(group.processes)
        ]
        try:
            _Watch(group, relays, signals, grace_seconds).until_all_left()
        finally:
            group.kill()
            for relay in (relay for pair in relays for relay in pair):
                relay.wait(STOP_SECONDS)
        return verdict([process.returncode for process in group.processes])


class _Watch:
    """Waits for the workers of one start, and sees to it that none outstays the others."""

    def __init__(self, group: ProcessGroup, relays: Sequence[Sequence[Relay]], signals: Signals, grace_seconds: float):
        self._group, self._relays, self._signals, self._grace_seconds = group, relays, signals, grace_seconds
        self._deadline: float | None = None
        self._reported: set[int] = set()
        self._killed: set[int] = set()

    def until_all_left(self) -> None:
        signalled = False
        while running := [process for process in self._group.processes if process.poll() is None]:
            for number in self._signals.take():
                self._group.send(number)
                self._leave_within(STOP_SECONDS if signalled else self._grace_seconds + MARGIN_SECONDS)
                logger.info("%s passed on to %d workers", signal.Signals(number).name, len(running))
                signalled = True
            self._notice_departures()
            if self._deadline is not None:
                self._end_stragglers(running)
            time.sleep(POLL_SECONDS)
        self._notice_departures()

    def _leave_within(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._deadline = end if self._deadline is None else min(end, self._deadline)

    def _notice_departures(self) -> None:
        for index, process in enumerate(self._group.processes):
            code = process.returncode
            if code is None or index in self._reported:
                continue
            self._reported.add(index)
            if code == EXIT_DONE:
                continue
            logger.warning(
                "worker %d %s%s", index, describe(code), self._last_words(index) if died_by_itself(code) else ""
            )
            if is_failure(code):
                self._group.send(signal.SIGTERM)
                self._leave_within(STOP_SECONDS)
            else:
                self._leave_within(self._grace_seconds + MARGIN_SECONDS)

    def _last_words(self, index: int) -> str:
        """The last lines of a worker that died by itself: the C++ runtime says there why."""
        *_, errors = self._relays[index]  # stderr stands behind stdout
        errors.wait(LAST_LINES_SECONDS)
        return f"; its last lines: {' / '.join(errors.last_lines)}" if errors.last_lines else "; it wrote nothing"

    def _end_stragglers(self, running: Sequence[subprocess.Popen[bytes]]) -> None:
        """Kills the workers that are frozen, which no waiting brings back, and at the deadline all."""
        assert self._deadline is not None
        late = time.monotonic() >= self._deadline
        for index, process in enumerate(self._group.processes):
            if process in running and index not in self._killed and (late or is_stopped(process)):
                self._killed.add(index)
                logger.warning("worker %d %s and is killed", index, "did not leave in time" if late else "is frozen")
                process.kill()

"""Follows a run on the cluster to its end: its workers' logs, a line of progress, and how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from launch.client import Client
from launch.mirror import Mirror
from launch.pod_logs import PodLogs
from launch.pod_state import has_ended, has_started, newest
from launch.run_objects import JOB, JOBSET, POD, Run, Snapshot, explanations, owner_kind, snapshot
from launch.run_state import RunState
from trainer.cli import progress_line
from trainer.cli.progress_line import ProgressLine
from trainer.errors import EXIT_DEFECT

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
EXPLAIN_SECONDS = 5.0
LAST_LINES_SECONDS = 15.0
HOPELESS_SECONDS = 300.0  # a registry may be down for a while, and a Secret may follow its Job


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended. `result` is what worker 0's command printed last; None where it printed none."""

    state: RunState
    exit_code: int
    result: dict[str, Any] | None


def follow(client: Client, run: Run, *, hopeless_seconds: float = HOPELESS_SECONDS) -> Outcome:
    """Tells of a run on stderr until it is over, or until it has waited `hopeless_seconds` for what only a person can
    mend.

    Raises:
      ClusterError: the cluster refuses, or has not answered for minutes.
    """
    with contextlib.closing(_Sight(client, run)) as sight, _Display(run) as display:
        hopeless_since = over_since = None
        while True:
            now = sight.look()
            display.show(sight.logs, now.state)
            if now.state.over:
                over_since = over_since or time.monotonic()
                if sight.logs.idle or time.monotonic() - over_since > LAST_LINES_SECONDS:
                    display.show(sight.logs, now.state)
                    return _outcome(now.state, display)
            hopeless_since = (hopeless_since or time.monotonic()) if now.state.hopeless else None
            if hopeless_since and time.monotonic() - hopeless_since > hopeless_seconds:
                return _outcome(now.state, display)
            sight.wait()


def _outcome(state: RunState, display: _Display) -> Outcome:
    return Outcome(state, state.exit_code if state.exit_code is not None else EXIT_DEFECT, display.result)


class _Sight:
    """All that is known of a run: its objects by watches, its logs, and explanations where it does not run."""

    def __init__(self, client: Client, run: Run):
        self._client, self._run = client, run
        self._changed = threading.Event()
        kind = owner_kind(client, run)
        self._owners, self._pods = self._mirror(kind, run.selector), self._mirror(POD, run.selector)
        self._jobs = self._mirror(JOB, run.jobset_selector) if kind == JOBSET else None
        self._events: list[dict[str, Any]] = []
        self._workloads: list[dict[str, Any]] = []
        self._explained = -EXPLAIN_SECONDS
        self._past: set[str] | None = (
            None  # attempts that were over, and not the last, when this began: nobody wants their logs
        )
        self.logs = PodLogs(client)

    def _mirror(self, kind: tuple[str, str], selector: str) -> Mirror:
        return Mirror(self._client, *kind, self._run.namespace, selector, self._changed.set)

    @property
    def _mirrors(self) -> Iterator[Mirror]:
        yield from (mirror for mirror in (self._owners, self._pods, self._jobs) if mirror is not None)

    def look(self) -> Snapshot:
        for mirror in self._mirrors:
            mirror.ready.wait()
            if mirror.error is not None:
                raise mirror.error
        owners, pods = self._owners.objects(), self._pods.objects()
        jobs = self._jobs.objects() if self._jobs else []
        if self._past is None:
            last = {pod["metadata"]["uid"] for pod in newest([pod for pod in pods if has_started(pod)]).values()}
            self._past = {pod["metadata"]["uid"] for pod in pods if has_ended(pod)} - last
        for pod in pods:
            if has_started(pod) and pod["metadata"]["uid"] not in self._past:
                self.logs.follow(pod, has_ended(pod))
        now = snapshot(owners, jobs, pods, [], [])
        if now.state.state not in ("pending", "restarting"):
            return now
        if time.monotonic() - self._explained > EXPLAIN_SECONDS:
            self._events, self._workloads = explanations(self._client, self._run, owners)
            self._explained = time.monotonic()
        return snapshot(owners, jobs, pods, self._events, self._workloads)

    def wait(self) -> None:
        """Waits for a change, or a little for more lines of the logs."""
        self._changed.wait(LOOK_SECONDS)
        self._changed.clear()

    def close(self) -> None:
        self.logs.stop()
        for mirror in self._mirrors:
            mirror.stop()


class _Display:
    """Prefixed lines on stderr, and on a terminal a line of progress below them."""

    def __init__(self, run: Run):
        self._run = run
        self._progress: ProgressLine | None = None
        self._shown = ""
        self._terminal = sys.stderr.isatty()
        self.result: dict[str, Any] | None = None

    def __enter__(self) -> _Display:
        self._open = contextlib.ExitStack()
        self._bar = self._open.enter_context(
            tqdm(file=sys.stderr, disable=not self._terminal, bar_format="{desc}", dynamic_ncols=True)
        )
        if self._terminal:
            self._open.enter_context(logging_redirect_tqdm())
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def show(self, logs: PodLogs, state: RunState) -> None:
        while not logs.lines.empty():
            self._line(*logs.lines.get())
        if str(state) != self._shown:
            self._shown = str(state)
            logger.info("%s: %s", self._run.name, state)
        self._bar.set_description_str(progress_text(self._run.name, state, self._progress))

    def _line(self, worker: int, line: str) -> None:
        progress = progress_line.find(line)
        if progress is not None and worker == 0:
            self._progress = progress
            if self._terminal:  # the line of progress tells it
                return
        if worker == 0 and line.startswith("{"):
            with contextlib.suppress(ValueError):
                self.result = json.loads(line)
        tqdm.write(f"[worker {worker}] {line}", file=sys.stderr)


def progress_text(name: str, state: RunState, progress: ProgressLine | None) -> str:
    """One line that tells how far a run is."""
    parts = [f"{name} {state.state} {state.running}/{state.workers}"]
    if progress is not None:
        of = f"/{progress.total_steps}" if progress.total_steps else ""
        left = datetime.timedelta(seconds=round(progress.seconds_left))
        parts += [
            f"step {progress.step}{of}",
            f"loss {progress.loss:.4f}",
            f"{progress.steps_per_second:.3g} steps/s",
            f"ETA {left}",
        ]
    return " | ".join([*parts, f"restarts {state.restarts}"])

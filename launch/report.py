"""The output of `status` and `logs`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
from typing import Any

from launch import pod_logs
from launch.client import Client, ClusterError
from launch.pod_state import has_started, newest
from launch.run_objects import Run, Snapshot, look
from trainer.cli import progress_line
from trainer.cli.progress_line import ProgressLine

logger = logging.getLogger(__name__)

LINES_WITH_PROGRESS = 200


def describe(client: Client, run: Run, last_lines: int) -> dict[str, Any] | None:
    """State, reasons, progress and, of a failed run, the last lines of the worker that failed; None where there is no
    such run.
    """
    now = look(client, run)
    state = now.state
    if now.owner is None:
        return None
    logger.info("%s: %s", run.name, state)
    description = {"name": run.name, "namespace": run.namespace, **dataclasses.asdict(state)}
    progress = _progress(client, now) if state.state == "running" else None
    description["progress"] = dataclasses.asdict(progress) if progress else None
    description["last_lines"] = _last_lines(client, now, last_lines) if state.state == "failed" else []
    for line in description["last_lines"]:
        sys.stderr.write(f"[{state.failing_pod}] {line}\n")
    return description


def _progress(client: Client, now: Snapshot) -> ProgressLine | None:
    chief = newest(now.pods).get(0)
    progress = None
    if chief is not None and has_started(chief):
        with contextlib.suppress(ClusterError):
            for line in pod_logs.lines(client, chief, tail=LINES_WITH_PROGRESS):
                progress = progress_line.find(line) or progress
    return progress


def _last_lines(client: Client, now: Snapshot, count: int) -> list[str]:
    pod = next((pod for pod in now.pods if pod["metadata"]["name"] == now.state.failing_pod), None)
    if pod is None:
        return []
    try:
        return list(pod_logs.lines(client, pod, tail=count))
    except ClusterError as error:
        logger.warning("%s", error)
        return []


def write_logs(client: Client, now: Snapshot, worker: int | None) -> dict[str, Any]:
    """Writes the logs of the newest pod that has one, of one worker, or of all with a prefix, to stdout; gives how many
    lines of whom.
    """
    pods = newest([pod for pod in now.pods if has_started(pod)])
    chosen = sorted(pods) if worker is None else [worker] if worker in pods else []
    counts: dict[str, int] = {}
    for index in chosen:
        prefix = f"[worker {index}] " if worker is None else ""
        for line in pod_logs.lines(client, pods[index]):
            sys.stdout.write(f"{prefix}{line}\n")
            counts[str(index)] = counts.get(str(index), 0) + 1
    return {"state": now.state.state, "lines": counts}

"""The state of a run on the cluster, and the reason, read from the objects that the cluster holds. Pure functions, no
API calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.pod_state import (
    Reason,
    attempts,
    exit_code,
    how_it_ended,
    is_running,
    newest,
    not_running_reason,
    worker_index,
)
from trainer.errors import EXIT_CONFIG, EXIT_DATA, EXIT_DEFECT, EXIT_DIVERGED, EXIT_DONE, EXIT_RESTART

Object = Mapping[str, Any]

PASSED_ON = (EXIT_CONFIG, EXIT_DATA, EXIT_DIVERGED, EXIT_RESTART)
# Reasons that do not go away by themselves.
HOPELESS = ("image", "configuration", "refused")
_FAILING_POD = re.compile(r"for pod \S*?/(\S+) failed with exit code (\d+)")


@dataclass(frozen=True)
class RunState:
    """`state` is one of absent, pending, running, restarting, failed, complete, cancelled (being deleted)."""

    state: str
    reasons: tuple[Reason, ...] = ()
    workers: int = 0
    running: int = 0
    restarts: int = 0
    exit_code: int | None = None
    failing_pod: str | None = None

    @property
    def over(self) -> bool:
        return self.state in ("absent", "failed", "complete", "cancelled")

    @property
    def hopeless(self) -> bool:
        """Whether it waits for what only a person can change."""
        return self.state in ("pending", "restarting") and any(reason.kind in HOPELESS for reason in self.reasons)

    def __str__(self) -> str:
        text = self.state
        if self.state in ("pending", "running", "restarting"):
            text += f", {self.running} of {self.workers} workers run"
        if self.restarts:
            text += f", restarts: {self.restarts}"
        return text + "".join(f"; {reason.text}" for reason in self.reasons)


def run_state(
    owner: Object | None,
    pods: Sequence[Object],
    jobs: Sequence[Object],
    events: Sequence[Object],
    workloads: Sequence[Object] = (),
) -> RunState:
    """The state of a run.

    Args:
      owner: the run's Job or JobSet; None where it is gone.
      pods: all its pods, of earlier attempts too.
      jobs: the Jobs that a JobSet made; empty for a Job.
      events: the namespace's events about these objects.
      workloads: Kueue's Workloads of the run.
    """
    if owner is None:
        return RunState("absent", (Reason("absent", "there is no such run"),))
    workers, restarts = worker_count(owner), _restarts(owner, pods)
    now = newest(pods)
    running = sum(is_running(pod) for pod in now.values())
    finished = _finished(owner)
    if finished is not None and finished[0] == "complete":
        return RunState("complete", workers=workers, restarts=restarts, exit_code=EXIT_DONE)
    if finished is not None:
        return _failed(finished[1], pods, jobs, workers, restarts)
    if owner["metadata"].get("deletionTimestamp"):
        return RunState("cancelled", (Reason("cancelled", "it is being deleted"),), workers, running, restarts)
    done = sum(pod["status"].get("phase") == "Succeeded" for pod in now.values())
    if running + done >= max(workers, 1):
        return RunState("running", (), workers, running, restarts)
    reasons = tuple(_reasons(owner, now, [owner, *jobs], events, workloads, workers))
    fallen = [pod for pod in pods if how_it_ended(pod)]
    if restarts or fallen:
        last = max(fallen, key=_finished_at, default=None)
        why = (Reason("ended", f"worker {worker_index(last)} {how_it_ended(last)}"),) if last is not None else ()
        return RunState("restarting", why + reasons, workers, running, restarts)
    return RunState("pending", reasons, workers, running, restarts)


def worker_count(owner: Object) -> int:
    """Workers of a Job or JobSet."""
    spec = owner["spec"]
    if owner["kind"] != "JobSet":
        return int(spec.get("completions") or 1)
    return sum(
        int(job.get("replicas", 1)) * int(job["template"]["spec"].get("completions") or 1)
        for job in spec["replicatedJobs"]
    )


def _restarts(owner: Object, pods: Sequence[Object]) -> int:
    """A group restarts as a whole, so the worker that began most often tells; a JobSet deletes its old pods and counts
    itself.
    """
    again = max((len(tries) - 1 for tries in attempts(pods).values()), default=0)
    return max(again, int(owner.get("status", {}).get("restarts", 0)))


def _finished(owner: Object) -> tuple[str, Object] | None:
    """The end, complete or failed, with the condition that says so. FailureTarget comes before Failed, while the last
    pods end.
    """
    for condition in owner.get("status", {}).get("conditions", ()):
        if condition.get("status") == "True":
            if condition["type"] in ("Complete", "Completed", "SuccessCriteriaMet"):
                return "complete", condition
            if condition["type"] in ("Failed", "FailureTarget"):
                return "failed", condition
    return None


def _failed(condition: Object, pods: Sequence[Object], jobs: Sequence[Object], workers: int, restarts: int) -> RunState:
    inner = [finished[1] for job in jobs if (finished := _finished(job)) is not None and finished[0] == "failed"]
    failure = next(
        (match for message in (condition, *inner) if (match := _FAILING_POD.search(message.get("message", "")))), None
    )
    ended = [pod for pod in pods if how_it_ended(pod)]
    failing: str | None = None
    code: int | None = None
    if failure:
        failing, code = failure[1], int(failure[2])
    elif ended:
        # Workers that lost their peer leave with 75, so the one with another code is the cause.
        pod = max(ended, key=lambda pod: (exit_code(pod) != EXIT_RESTART, _finished_at(pod)))
        failing, code = pod["metadata"]["name"], exit_code(pod)
    reasons = [Reason("failed", f"{condition.get('reason', 'Failed')}: {condition.get('message', 'no message')}")]
    by_name = {pod["metadata"]["name"]: pod for pod in ended}
    if failing in by_name:
        reasons.append(Reason("ended", f"worker {worker_index(by_name[failing])} {how_it_ended(by_name[failing])}"))
    return RunState("failed", tuple(reasons), workers, 0, restarts, code if code in PASSED_ON else EXIT_DEFECT, failing)


def _finished_at(pod: Object) -> str:
    """When a pod ended, as the text that the API gives, which sorts by time."""
    ends = [
        status.get("state", {}).get("terminated", {}).get("finishedAt") or ""
        for status in pod["status"].get("containerStatuses", ())
    ]
    return max([*ends, pod["metadata"].get("creationTimestamp") or ""])


def _reasons(
    owner: Object,
    now: Mapping[int, Object],
    jobs: Sequence[Object],
    events: Sequence[Object],
    workloads: Sequence[Object],
    workers: int,
) -> Iterable[Reason]:
    by_reason: dict[Reason, list[int]] = {}
    for index, pod in sorted(now.items()):
        reason = not_running_reason(pod, events)
        if reason is not None:
            by_reason.setdefault(reason, []).append(index)
    for reason, indices in by_reason.items():
        yield Reason(reason.kind, f"worker{'s' * (len(indices) > 1)} {_ranges(indices)}: {reason.text}")
    if len(now) >= workers:
        return
    if owner["spec"].get("suspend"):
        messages = [text for workload in workloads for text in _queue_messages(workload)]
        yield Reason("queue", f"waits in its queue: {'; '.join(messages) or 'not admitted yet, or suspended by hand'}")
        return
    refused = _creation_refused(jobs, events)
    if refused:
        yield Reason("quota" if "exceeded quota" in refused else "refused", f"the cluster refuses its pods: {refused}")
    elif not now:
        yield Reason("starting", "its pods are not made yet")


def _queue_messages(workload: Object) -> Iterable[str]:
    for condition in workload.get("status", {}).get("conditions", ()):
        if (
            condition["type"] in ("QuotaReserved", "Admitted")
            and condition.get("status") == "False"
            and condition.get("message")
        ):
            yield condition["message"]


def _creation_refused(jobs: Sequence[Object], events: Sequence[Object]) -> str:
    names = {(job["kind"], job["metadata"]["name"]) for job in jobs}
    refusals = [
        event
        for event in events
        if event.get("reason") == "FailedCreate"
        and (event["involvedObject"].get("kind"), event["involvedObject"].get("name")) in names
    ]
    last = max(refusals, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "", default=None)
    return "" if last is None else " ".join(last.get("message", "").split())


def _ranges(indices: Sequence[int]) -> str:
    """1,2,3,7 as `1-3,7`."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)

"""The state of a run from the objects that a cluster holds: every way to wait, to fail and to end is told apart."""

from __future__ import annotations

from typing import Any

import pytest

from launch.run_state import run_state

Dict = dict[str, Any]
INDEX = "batch.kubernetes.io/job-completion-index"


def job(workers: int = 2, conditions: tuple[Dict, ...] = (), **spec: Any) -> Dict:
    return {
        "kind": "Job",
        "metadata": {"name": "demo", "uid": "job"},
        "spec": {"completions": workers, **spec},
        "status": {"conditions": list(conditions)},
    }


def pod(index: int, attempt: int = 0, *, phase: str = "Pending", state: Dict | None = None, **more: Any) -> Dict:
    metadata = {
        "name": f"demo-{index}-{attempt}",
        "uid": f"pod-{index}-{attempt}",
        "labels": {INDEX: str(index)},
        "creationTimestamp": f"2030-01-01T00:0{attempt}:00Z",
    }
    metadata |= {"deletionTimestamp": "2030-01-01T00:09:00Z"} if more.pop("deleted", False) else {}
    containers = [] if state is None else [{"name": "trainer", "image": "trainer:0.1.0", "state": state}]
    return {
        "metadata": metadata,
        "spec": {"nodeName": "node-1"},
        "status": {"phase": phase, "containerStatuses": containers, **more},
    }


def running(index: int, attempt: int = 0) -> Dict:
    return pod(index, attempt, phase="Running", state={"running": {}})


def ended(index: int, attempt: int, code: int, **more: Any) -> Dict:
    reason = "OOMKilled" if code == 137 else "Error"
    finished = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": f"2030-01-01T00:0{attempt}:30Z"}}
    return pod(index, attempt, phase="Failed" if code else "Succeeded", state=finished, **more)


def unschedulable(index: int, message: str) -> Dict:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
    return pod(index, conditions=conditions)


def condition(kind: str, reason: str, message: str) -> Dict:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("pods", "kind", "told"),
    [
        (
            [unschedulable(0, "0/3 nodes: 3 Insufficient nvidia.com/gpu."), running(1)],
            "no_gpu",
            "worker 0: no node has enough free GPUs",
        ),
        (
            [unschedulable(i, "0/3 nodes: 3 Insufficient memory.") for i in (0, 1)],
            "no_node",
            "workers 0-1: no node has enough free memory",
        ),
        (
            [unschedulable(0, "2 node(s) didn't match Pod's node affinity/selector")],
            "no_node",
            "such as the kind of GPU",
        ),
        ([unschedulable(0, "1 node(s) had untolerated taint {a: b}")], "no_node", "no node takes it"),
        (
            [pod(0, state={"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})],
            "image",
            "trainer:0.1.0 cannot be pulled",
        ),
        ([pod(0, state={"waiting": {"reason": "InvalidImageName", "message": "bad"}})], "image", "InvalidImageName"),
        (
            [pod(0, state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}})],
            "configuration",
            'secret "x" not found',
        ),
        ([pod(0, state={"waiting": {"reason": "ContainerCreating"}})], "starting", "starts on node-1"),
        ([pod(0, phase="Running", state={"running": {}}, deleted=True)], "terminating", "is still ending on node-1"),
        ([], "starting", "its pods are not made yet"),
    ],
)
def test_what_a_pending_run_waits_for(pods, kind, told) -> None:
    state = run_state(job(), pods, [], [])
    assert state.state == "pending"
    assert next(reason.kind for reason in state.reasons) == kind
    assert told in str(state)
    assert state.hopeless == (kind in ("image", "configuration"))
    assert not state.over


def event(reason: str, message: str, **involved: str) -> Dict:
    return {"reason": reason, "message": message, "involvedObject": involved, "lastTimestamp": "2030-01-01T00:00:00Z"}


def test_quota_and_refused_pods_are_read_from_the_job_s_events() -> None:
    quota = event(
        "FailedCreate", 'Error creating: pods "demo-0" is forbidden: exceeded quota: gpus', kind="Job", name="demo"
    )
    state = run_state(job(), [], [], [quota])
    assert (
        [reason.kind for reason in state.reasons] == ["quota"]
        and "exceeded quota: gpus" in str(state)
        and not state.hopeless
    )
    refused = event(
        "FailedCreate", 'Error creating: pods "demo-0" is forbidden: violates PodSecurity', kind="Job", name="demo"
    )
    assert run_state(job(), [], [], [refused]).hopeless
    others = event("FailedCreate", "exceeded quota", kind="Job", name="other")
    assert [reason.kind for reason in run_state(job(), [], [], [others]).reasons] == ["starting"]


def test_a_volume_that_is_not_there_is_read_from_the_pod_s_events() -> None:
    told = event("FailedMount", "MountVolume.SetUp failed", kind="Pod", uid="pod-0-0")
    state = run_state(job(1), [pod(0, state={"waiting": {"reason": "ContainerCreating"}})], [], [told])
    assert [reason.kind for reason in state.reasons] == ["volume"] and "MountVolume.SetUp failed" in str(state)


def test_a_queue_tells_why_it_holds_a_run() -> None:
    waits = {"type": "QuotaReserved", "status": "False", "message": "insufficient unused quota for nvidia.com/gpu"}
    state = run_state(job(suspend=True), [], [], [], [{"status": {"conditions": [waits]}}])
    assert state.state == "pending" and "waits in its queue: insufficient unused quota for nvidia.com/gpu" in str(state)


def test_running_needs_all_workers() -> None:
    assert run_state(job(), [running(0), running(1)], [], []).state == "running"
    some = run_state(job(), [running(0)], [], [])
    assert (some.state, some.running) == ("pending", 1)
    assert run_state(job(), [running(0), ended(1, 0, 0)], [], []).state == "running"


def test_a_fallen_worker_is_a_restart_until_all_run_again() -> None:
    fallen = [ended(0, 0, 75), ended(1, 0, 137)]
    state = run_state(job(), [*fallen, running(0, 1), pod(1, 1)], [], [])
    assert (state.state, state.restarts, state.running) == ("restarting", 1, 1)
    back = run_state(job(), [*fallen, running(0, 1), running(1, 1)], [], [])
    assert (back.state, back.restarts) == ("running", 1)
    evicted = pod(0, phase="Failed", conditions=[condition("DisruptionTarget", "EvictionByEvictionAPI", "node drain")])
    state = run_state(job(1), [evicted], [], [])
    assert state.state == "restarting" and "was taken off its node (EvictionByEvictionAPI: node drain)" in str(state)


@pytest.mark.parametrize(("code", "passed_on"), [(64, 64), (65, 65), (75, 75), (1, 1), (137, 1)])
def test_a_failed_run_has_its_worker_s_exit_code(code, passed_on) -> None:
    failed = condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    # the peer that lost its partner left with 75 and later: it is not the cause
    pods = [ended(0, 1, 75), ended(1, 0, code)]
    state = run_state(job(conditions=(failed,)), pods, [], [])
    assert (state.state, state.exit_code, state.over) == ("failed", passed_on, True)
    assert state.failing_pod == ("demo-0-1" if code == 75 else "demo-1-0")


def test_the_condition_names_the_failing_pod() -> None:
    told = "Container trainer for pod default/demo-1-0 failed with exit code 65 matching FailJob rule at index 0"
    state = run_state(
        job(conditions=(condition("FailureTarget", "PodFailurePolicy", told),)), [running(0), ended(0, 0, 1)], [], []
    )
    assert (state.state, state.exit_code, state.failing_pod) == ("failed", 65, "demo-1-0")  # though its pod is gone


def test_out_of_memory_is_told_with_its_remedy() -> None:
    failed = condition("Failed", "BackoffLimitExceeded", "limit")
    assert "ran out of memory and was killed; give it more --memory" in str(
        run_state(job(1, (failed,)), [ended(0, 0, 137)], [], [])
    )


def test_ends_are_told_apart() -> None:
    assert run_state(None, [], [], []).state == "absent"
    complete = run_state(
        job(conditions=(condition("SuccessCriteriaMet", "SuccessPolicy", ""),)), [ended(0, 0, 0)], [], []
    )
    assert (complete.state, complete.exit_code) == ("complete", 0)
    deleted = job()
    deleted["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert run_state(deleted, [running(0)], [], []).state == "cancelled"


def test_a_jobset_counts_its_own_restarts_and_fails_with_its_job() -> None:
    inner = {"name": "workers", "replicas": 1, "template": {"spec": {"completions": 2}}}
    owner: dict[str, Any] = {
        "kind": "JobSet",
        "metadata": {"name": "demo", "uid": "set"},
        "spec": {"replicatedJobs": [inner]},
        "status": {"restarts": 2},
    }
    state = run_state(owner, [running(0), running(1)], [job()], [])
    assert (state.state, state.workers, state.restarts) == ("running", 2, 2)
    owner["status"]["conditions"] = [condition("Failed", "FailedJobs", "jobset failed due to one or more job failures")]
    told = condition(
        "Failed",
        "PodFailurePolicy",
        "Container trainer for pod default/demo-workers-0-0-x failed with exit code 64 matching",
    )
    assert run_state(owner, [], [job(conditions=(told,))], []).exit_code == 64

"""A look at a run finds all that belongs to it, and does without what may not be read."""

from __future__ import annotations

from typing import Any

from kubernetes_api import KubernetesApi

from launch.run_objects import JOB, JOBSET, Run, look, owner_kind

RUN = Run("demo", "default")
LABELS = {"app.kubernetes.io/name": "recurrent-trainer", "app.kubernetes.io/instance": "demo"}
FAILED = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}
FAILED["message"] = (
    "Container trainer for pod default/demo-workers-0-0-x failed with exit code 65 matching FailJob rule at index 0"
)


def put_job(api: KubernetesApi, **spec: object) -> dict:
    return api.put(
        "jobs",
        {"metadata": {"name": "demo", "labels": LABELS}, "spec": {"completions": 2, **spec}, "status": {}},
        "default",
    )


def test_a_jobset_is_read_with_the_jobs_that_it_made(api, client) -> None:
    inner = {"name": "workers", "replicas": 1, "template": {"spec": {"completions": 2}}}
    owner: dict[str, Any] = {
        "metadata": {"name": "demo", "labels": LABELS},
        "spec": {"replicatedJobs": [inner]},
        "status": {"restarts": 1},
    }
    api.put("jobsets", owner, "default")
    labels = {"jobset.sigs.k8s.io/jobset-name": "demo"}
    made = {
        "metadata": {"name": "demo-workers-0", "labels": labels},
        "spec": {"completions": 2},
        "status": {"conditions": [FAILED]},
    }
    api.put("jobs", made, "default")
    assert owner_kind(client, RUN) == JOBSET
    now = look(client, RUN)
    assert (now.state.state, now.state.workers, now.state.restarts) == ("restarting", 2, 1)
    owner["status"]["conditions"] = [
        {"type": "Failed", "status": "True", "reason": "FailJobSetFailurePolicyAction", "message": "failed"}
    ]
    api.put("jobsets", owner, "default")
    assert (look(client, RUN).state.state, look(client, RUN).state.exit_code) == ("failed", 65)


def test_who_may_not_see_jobsets_events_and_workloads_still_sees_jobs(api, client) -> None:
    put_job(api)
    for kind in ("jobsets", "events", "workloads"):
        api.fail("GET", kind, 403, times=99)
    assert owner_kind(client, RUN) == JOB
    assert look(client, RUN).state.state == "pending"


def test_other_runs_are_not_looked_at(api, client) -> None:
    put_job(api)
    assert look(client, Run("other", "default")).state.state == "absent"
    assert look(client, Run("demo", "elsewhere")).state.state == "absent"


def test_the_queue_s_reason_and_the_namespace_s_warnings_are_read(api, client) -> None:
    job = put_job(api, suspend=True)
    waits = {"type": "QuotaReserved", "status": "False", "message": "insufficient quota"}
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    api.put(
        "workloads", {"metadata": {"name": "job-demo", "labels": labels}, "status": {"conditions": [waits]}}, "default"
    )
    assert "waits in its queue: insufficient quota" in str(look(client, RUN).state)
    job["spec"]["suspend"] = False
    api.put("jobs", job)
    event = {
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "exceeded quota: gpus",
        "involvedObject": {"kind": "Job", "name": "demo"},
    }
    api.put("events", {"metadata": {"name": "demo.1"}, **event}, "default")
    assert [reason.kind for reason in look(client, RUN).state.reasons] == ["quota"]

"""The Job controller and the kubelet of `KubernetesApi`, as far as tests need them, driven step by step."""

from __future__ import annotations

import itertools
import time
from typing import Any

from kubernetes_api import KubernetesApi

Dict = dict[str, Any]
INDEX = "batch.kubernetes.io/job-completion-index"


def action_for(job_spec: Dict, exit_code: int | None, conditions: list[Dict]) -> tuple[str, int | None]:
    """What the podFailurePolicy says to a failed pod, and by which rule: FailJob, Ignore or Count.

    https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy: the first rule that matches
    decides; an evicted pod whose container has no exit code is only matched by its conditions.
    """
    for number, rule in enumerate(job_spec.get("podFailurePolicy", {}).get("rules", ())):
        codes = rule.get("onExitCodes")
        if codes and exit_code not in (None, 0) and (exit_code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"], number
        for wanted in rule.get("onPodConditions", ()):
            if any(
                each["type"] == wanted["type"] and each["status"] == wanted.get("status", "True") for each in conditions
            ):
                return rule["action"], number
    return "Count", None


class JobController:
    """One Indexed Job on the double: makes its pods, and does to them what a cluster would."""

    def __init__(self, api: KubernetesApi, name: str, namespace: str = "default"):
        self.api, self.name, self.namespace = api, name, namespace
        self._numbers = itertools.count()

    @property
    def job(self) -> Dict:
        return self.api.get("jobs", self.name, self.namespace)

    def make_pods(self) -> None:
        for index in range(self.job["spec"]["completions"]):
            self.make_pod(index)

    def make_pod(self, index: int) -> str:
        job = self.job
        template = job["spec"]["template"]
        name = f"{self.name}-{index}-{next(self._numbers):05d}"
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": self.name,
            "uid": job["metadata"]["uid"],
            "controller": True,
        }
        labels = {**template["metadata"]["labels"], INDEX: str(index), "batch.kubernetes.io/job-name": self.name}
        metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
        self.api.put(
            "pods", {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}, self.namespace
        )
        return name

    def pod(self, index: int) -> Dict:
        """The newest pod of a worker."""
        pods = [pod for pod in self.api.all("pods") if pod["metadata"]["labels"].get(INDEX) == str(index)]
        return max(pods, key=lambda pod: int(pod["metadata"]["name"].rsplit("-", 1)[1]))

    def set_status(self, pod: Dict, **status: Any) -> None:
        self.api.put("pods", {**pod, "status": status})

    def pend(self, index: int, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.set_status(self.pod(index), phase="Pending", conditions=[condition])

    def hold(self, index: int, reason: str, message: str) -> None:
        """The container waits, as for its image."""
        pod = self.pod(index)
        container = {
            "name": "trainer",
            "image": pod["spec"]["containers"][0]["image"],
            "state": {"waiting": {"reason": reason, "message": message}},
        }
        self.set_status(
            pod, phase="Pending", conditions=[{"type": "PodScheduled", "status": "True"}], containerStatuses=[container]
        )

    def start(self, index: int) -> str:
        pod = self.pod(index)
        self.set_status(
            pod, phase="Running", containerStatuses=[{"name": "trainer", "state": {"running": {"startedAt": _now()}}}]
        )
        return str(pod["metadata"]["name"])

    def start_all(self) -> None:
        for index in range(self.job["spec"]["completions"]):
            self.start(index)

    def exit(self, index: int, code: int) -> None:
        """The worker's container ends; then the controller does its part."""
        pod = self.pod(index)
        ended = {"exitCode": code, "finishedAt": _now(), "reason": "Error" if code else "Completed"}
        phase = "Failed" if code else "Succeeded"
        self.set_status(pod, phase=phase, containerStatuses=[{"name": "trainer", "state": {"terminated": ended}}])
        self.api.end_log(pod["metadata"]["name"])
        self._reconcile(index, self.pod(index), code)

    def evict(self, index: int, code: int | None = None) -> None:
        """The node is drained under the worker."""
        pod = self.pod(index)
        conditions = [
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            }
        ]
        containers = (
            []
            if code is None
            else [{"name": "trainer", "state": {"terminated": {"exitCode": code, "finishedAt": _now()}}}]
        )
        self.set_status(pod, phase="Failed", conditions=conditions, containerStatuses=containers)
        self.api.end_log(pod["metadata"]["name"])
        self._reconcile(index, self.pod(index), code)

    def _reconcile(self, index: int, pod: Dict, code: int | None) -> None:
        job = self.job
        status = job.setdefault("status", {})
        if code == 0:
            done = [
                each for each in range(job["spec"]["completions"]) if self.pod(each)["status"]["phase"] == "Succeeded"
            ]
            rules = job["spec"].get("successPolicy", {}).get("rules", ())
            if len(done) == job["spec"]["completions"] or any(
                rule.get("succeededIndexes") == str(index) for rule in rules
            ):
                self._finish(job, "Complete", "CompletionsReached", "done")
            return
        action, rule = action_for(job["spec"], code, pod["status"].get("conditions", []))
        where = f"{self.namespace}/{pod['metadata']['name']}"
        if action == "FailJob":
            told = (
                f"Container trainer for pod {where} failed with exit code {code} matching FailJob rule at index {rule}"
            )
            self._finish(job, "Failed", "PodFailurePolicy", told)
            return
        if action == "Count":
            status["failed"] = status.get("failed", 0) + 1
            if status["failed"] > job["spec"]["backoffLimit"]:
                self._finish(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
                return
            self.api.put("jobs", job)
        self.make_pod(index)

    def _finish(self, job: Dict, kind: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        job["status"].setdefault("conditions", []).append(condition)
        self.api.put("jobs", job)
        for pod in self.api.all("pods"):
            if pod["status"]["phase"] in (
                "Pending",
                "Running",
            ):  # of a finished Job, the controller deletes what still runs
                self.api.remove("pods", pod["metadata"]["name"], self.namespace)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

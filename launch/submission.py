"""Makes a run's objects on the cluster, or nothing at all where something is wrong; and removes them again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launch.client import Client, ClusterError
from launch.names import QUEUE_LABEL
from launch.run_objects import JOBSET, KINDS, KUEUE_VERSIONS, Run
from trainer.errors import ConfigError, Problem

logger = logging.getLogger(__name__)

# What a run names and does not bring along: kind -> (API version, flag that names it, whether it lies in the
# namespace).
NAMED = {
    "Secret": ("v1", "secrets", True),
    "ServiceAccount": ("v1", "service_account", True),
    "PersistentVolumeClaim": ("v1", "volumes", True),
    "ConfigMap": ("v1", "overlay", True),
    "PriorityClass": ("scheduling.k8s.io/v1", "priority_class", False),
    "LocalQueue": ("", "queue", True),  # its API version is the newest of `KUEUE_VERSIONS` that the cluster has
}
REFERENCES = {
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
}
DEFAULT_GRACE_SECONDS = 30
MARGIN_SECONDS = 30

Object = Mapping[str, Any]


def submit(client: Client, run: Run, objects: Sequence[Object]) -> list[dict[str, str]]:
    """Applies the objects in their order and tells of each what was done: created, changed or unchanged.

    Raises:
      ConfigError: things that the run names are missing, or the cluster finds fault with the objects: all told, nothing
        made.
      ClusterError: not allowed, no answer, or an older run of that name is in the way.
    """
    _check_names(client, run, objects)
    before = [_existing(client, requested) for requested in objects]
    objects = [_as_queued(requested, old) for requested, old in zip(objects, before)]
    _rehearse(client, objects)
    done = []
    for requested, old in zip(objects, before):
        new = client.apply(requested)
        versions = (old or {}).get("metadata", {}).get("resourceVersion"), new["metadata"].get("resourceVersion")
        change = "created" if old is None else "unchanged" if versions[0] == versions[1] else "changed"
        done.append({"kind": requested["kind"], "name": requested["metadata"]["name"], "change": change})
        logger.info("%s %s %s", requested["kind"], requested["metadata"]["name"], change)
    return done


def _existing(client: Client, content: Object) -> dict[str, Any] | None:
    metadata = content["metadata"]
    existing = client.get(content["apiVersion"], content["kind"], metadata.get("namespace"), metadata["name"])
    if existing is not None and existing["metadata"].get("deletionTimestamp"):
        raise ClusterError(
            f"an older {content['kind']} {metadata['name']} is still being deleted; submit again when it is gone"
        )
    return existing


def _as_queued(content: Object, old: Object | None) -> Object:
    """Leaves it to the queue, which starts and suspends the run, whether a run that exists is suspended."""
    if old is None or "suspend" not in content.get("spec", {}):
        return content
    return {**content, "spec": {**content["spec"], "suspend": old["spec"].get("suspend", False)}}


def _rehearse(client: Client, objects: Sequence[Object]) -> None:
    """Lets the cluster check all objects (its admission rules too) without keeping them, and tells all complaints."""
    complaints = []
    for requested in objects:
        try:
            client.apply(requested, dry_run=True)
        except ClusterError as error:
            if error.status is None:
                raise
            complaints.append(error)
    if complaints:
        raise ClusterError(
            "\n".join(str(error) for error in complaints), max(error.status or 0 for error in complaints)
        )


def _check_names(client: Client, run: Run, objects: Sequence[Object]) -> None:
    namespace = _exists(client, "v1", "Namespace", None, run.namespace)
    if not namespace:
        raise ConfigError(
            [
                Problem(
                    "namespace",
                    run.namespace,
                    "is not there",
                    f"kubectl create namespace {run.namespace}, or name another",
                )
            ]
        )
    made = {(each["kind"], each["metadata"]["name"]) for each in objects}
    problems = []
    for kind, name in sorted(set(references(objects)) - made):
        version, flag, namespaced = NAMED[kind]
        version = version or client.newest(KUEUE_VERSIONS, kind) or KUEUE_VERSIONS[0]
        if not _exists(client, version, kind, run.namespace if namespaced else None, name):
            where = f" in namespace {run.namespace}" if namespaced else ""
            problems.append(
                Problem(
                    flag, name, f"names a {kind} that is not there{where}", "create it first, or name one that exists"
                )
            )
    if problems:
        raise ConfigError(problems)


def _exists(client: Client, version: str, kind: str, namespace: str | None, name: str) -> bool:
    """Whether an object exists; taken for granted where we may not look."""
    try:
        return client.get(version, kind, namespace, name, only_metadata=True) is not None
    except ClusterError as error:
        if error.status != 403:
            raise
        logger.warning("cannot check that %s %s exists: not allowed to read it", kind, name)
        return True


def references(objects: Sequence[Object]) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that the objects' pods need; optional things are left out."""
    for each in objects:
        queue = each["metadata"].get("labels", {}).get(QUEUE_LABEL)
        if queue:
            yield "LocalQueue", queue
        for spec in pod_specs(each):
            yield from _pod_references(spec)


def pod_specs(each: Object) -> Iterator[Object]:
    """The pod specifications inside a Job or JobSet."""
    if each["kind"] == "Job":
        yield each["spec"]["template"]["spec"]
    elif each["kind"] == "JobSet":
        for job in each["spec"]["replicatedJobs"]:
            yield job["template"]["spec"]["template"]["spec"]


def _pod_references(spec: Object) -> Iterator[tuple[str, str]]:
    if spec.get("serviceAccountName", "default") != "default":
        yield "ServiceAccount", spec["serviceAccountName"]
    if spec.get("priorityClassName"):
        yield "PriorityClass", spec["priorityClassName"]
    for secret in spec.get("imagePullSecrets", ()):
        yield "Secret", secret["name"]
    for volume in spec.get("volumes", ()):
        for source, kind, key in (
            ("secret", "Secret", "secretName"),
            ("configMap", "ConfigMap", "name"),
            ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
        ):
            if source in volume and not volume[source].get("optional"):
                yield kind, volume[source][key]
    for container in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
        sources = [*container.get("envFrom", ()), *(each.get("valueFrom", {}) for each in container.get("env", ()))]
        for each in sources:
            for field, kind in REFERENCES.items():
                if field in each and not each[field].get("optional"):
                    yield kind, each[field]["name"]


def cancel(client: Client, run: Run) -> list[dict[str, str]]:
    """Deletes everything that `submit` made for a run and waits until its pods have ended, for as long as they may
    take.

    Raises:
      ClusterError: not allowed, no answer, or pods that do not end.
    """
    deleted = []
    for version, kind in KINDS:
        if not client.serves(version, kind):
            continue
        try:
            objects = client.list(version, kind, run.namespace, run.selector)[0]
        except ClusterError as error:
            if (version, kind) != JOBSET or error.status != 403:
                raise
            continue  # who may not see JobSets has made none
        for existing in objects:
            if any(owner.get("controller") for owner in existing["metadata"].get("ownerReferences", ())):
                continue  # goes with its owner
            if client.delete(existing):
                deleted.append({"kind": kind, "name": existing["metadata"]["name"]})
                logger.info("%s %s deleted", kind, existing["metadata"]["name"])
    _wait_for_pods(client, run)
    return deleted


def _wait_for_pods(client: Client, run: Run) -> None:
    started = time.monotonic()
    while True:
        pods = client.list("v1", "Pod", run.namespace, run.selector)[0]
        if not pods:
            return
        grace = max(pod["spec"].get("terminationGracePeriodSeconds") or DEFAULT_GRACE_SECONDS for pod in pods)
        waited = time.monotonic() - started
        if waited > grace + MARGIN_SECONDS:
            names = ", ".join(sorted(pod["metadata"]["name"] for pod in pods)[:5])
            raise ClusterError(
                f"{len(pods)} pods have not ended after {waited:.0f} s ({names}); see kubectl describe pod"
            )
        if waited < 1:
            logger.info("waiting for %d pods to save and end, at most %d s", len(pods), grace + MARGIN_SECONDS)
        time.sleep(1.0)

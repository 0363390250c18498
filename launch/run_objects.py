"""Which objects on the cluster belong to a run, and a look at all of them at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from launch.client import Client, ClusterError
from launch.names import INSTANCE_LABEL, NAME_LABEL, PROGRAM
from launch.run_state import RunState, run_state

JOB = ("batch/v1", "Job")
POD = ("v1", "Pod")
JOBSET = ("jobset.x-k8s.io/v1alpha2", "JobSet")
# All that `submit` makes and `cancel` removes, what runs first.
KINDS = (JOBSET, JOB, ("v1", "Service"), ("v1", "ConfigMap"), ("networking.k8s.io/v1", "NetworkPolicy"))
KUEUE_VERSIONS = ("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1")

Dict = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run on a cluster, by its name."""

    name: str
    namespace: str

    @property
    def selector(self) -> str:
        return f"{NAME_LABEL}={PROGRAM},{INSTANCE_LABEL}={self.name}"

    @property
    def jobset_selector(self) -> str:
        """Finds the Jobs that a JobSet made; the JobSet controller sets this label."""
        return f"jobset.sigs.k8s.io/jobset-name={self.name}"


@dataclass(frozen=True)
class Snapshot:
    """The objects of a run at one moment; `owner` is its Job or JobSet."""

    owner: Dict | None
    jobs: Sequence[Dict]
    pods: Sequence[Dict]
    state: RunState


def owner_kind(client: Client, run: Run) -> tuple[str, str]:
    """JobSet where the run is one, else Job."""
    try:
        is_jobset = client.serves(*JOBSET) and client.list(*JOBSET, run.namespace, run.selector)[0]
    except ClusterError as error:
        if error.status != 403:
            raise
        is_jobset = []  # who may not see JobSets has made none
    return JOBSET if is_jobset else JOB


def look(client: Client, run: Run) -> Snapshot:
    """Everything about a run, read now."""
    kind = owner_kind(client, run)
    owners = client.list(*kind, run.namespace, run.selector)[0]
    jobs = client.list(*JOB, run.namespace, run.jobset_selector)[0] if kind == JOBSET else []
    pods = client.list(*POD, run.namespace, run.selector)[0]
    return snapshot(owners, jobs, pods, *explanations(client, run, owners))


def snapshot(
    owners: Sequence[Dict],
    jobs: Sequence[Dict],
    pods: Sequence[Dict],
    events: Sequence[Dict],
    workloads: Sequence[Dict],
) -> Snapshot:
    owner = owners[0] if owners else None
    return Snapshot(owner, jobs, pods, run_state(owner, pods, jobs, events, workloads))


def explanations(client: Client, run: Run, owners: Sequence[Dict]) -> tuple[list[Dict], list[Dict]]:
    """Warnings of the namespace and Kueue's Workloads of the run, as far as they may be read."""
    events: list[Dict] = []
    workloads: list[Dict] = []
    with contextlib.suppress(ClusterError):
        events = client.list("v1", "Event", run.namespace, fields="type=Warning")[0]
    with contextlib.suppress(ClusterError):
        version = client.newest(KUEUE_VERSIONS, "Workload") if owners else None
        if version is not None:
            selector = f"kueue.x-k8s.io/job-uid={owners[0]['metadata']['uid']}"
            workloads = client.list(version, "Workload", run.namespace, selector)[0]
    return events, workloads

"""The Kubernetes objects of a job: the files of k8s/ with the job's values filled in."""

from __future__ import annotations

import math
from typing import Any

import yaml

from launch import kustomize
from launch.job import Job, pod_flags
from launch.kustomize import Object
from launch.names import INSTANCE_LABEL, NAME_LABEL, PROGRAM, QUEUE_LABEL

CONTAINER = "trainer"
GPU = "nvidia.com/gpu"
GKE_GPU_LABEL, FEATURE_DISCOVERY_GPU_LABEL = "cloud.google.com/gke-accelerator", "nvidia.com/gpu.product"
GRACE_MARGIN_SECONDS = 10  # between the trainer's own end and the kubelet's SIGKILL
COMPONENTS = ("tasks", "gke-spot", "kueue", "jobset")  # in the order in which they apply


def objects(job: Job) -> list[Object]:
    """The objects to apply for a job, in order, those that others refer to first.

    All have the job's name and the labels `app.kubernetes.io/name` and `app.kubernetes.io/instance`, by which they can
    be deleted.
    """
    filled = [_filled(made, job) for made in _template(job)]
    return sorted(filled, key=lambda made: made["kind"] in ("Job", "JobSet"))


def to_yaml(made: list[Object]) -> str:
    """The objects as one YAML stream, as `kubectl apply -f -` reads it."""
    return yaml.safe_dump_all(made, sort_keys=False, width=140)


def _template(job: Job) -> list[Object]:
    """The overlay's objects, with the components that the job asks for beside the overlay's own."""
    files = kustomize.k8s_files()
    directory = files / ("base" if job.layers == "base" else f"overlays/{job.layers}")
    requested = {path.split("/")[-1] for path in kustomize.read(directory).get("components", ())}
    conditions = {"tasks": job.command == "prepare", "gke-spot": job.spot, "kueue": job.queue}
    requested |= {name for name, value in conditions.items() if value}
    return kustomize.build(directory, [files / "components" / name for name in COMPONENTS if name in requested])


def _filled(made: Object, job: Job) -> Object:
    kind = made["kind"]
    _name(made["metadata"], job)
    if kind == "ConfigMap":
        made["data"] = {name: "".join(f"{line}\n" for line in pod_flags(job)) for name in made["data"]}
    elif kind == "Service":
        made["spec"]["selector"][INSTANCE_LABEL] = job.name
    elif kind == "NetworkPolicy":
        made["spec"]["podSelector"]["matchLabels"][INSTANCE_LABEL] = job.name
        for rule in made["spec"]["ingress"]:
            for peer in rule["from"]:
                peer["podSelector"]["matchLabels"][INSTANCE_LABEL] = job.name
    elif kind == "Job":
        _fill_job(made["spec"], job)
        made["spec"]["backoffLimit"] = job.retries
    elif kind == "JobSet":
        for replicated in made["spec"]["replicatedJobs"]:
            _fill_job(replicated["template"]["spec"], job)
        made["spec"]["network"]["subdomain"] = job.name
        made["spec"]["failurePolicy"]["maxRestarts"] = job.retries
    if job.queue and QUEUE_LABEL in made["metadata"]["labels"]:
        made["metadata"]["labels"][QUEUE_LABEL] = job.queue
    return made


def _name(metadata: dict[str, Any], job: Job) -> None:
    metadata["name"] = job.name
    metadata["namespace"] = job.namespace
    metadata.setdefault("labels", {}).update({NAME_LABEL: PROGRAM, INSTANCE_LABEL: job.name})


def _fill_job(spec: dict[str, Any], job: Job) -> None:
    spec["completions"] = spec["parallelism"] = job.workers
    if job.deadline_seconds:
        spec["activeDeadlineSeconds"] = job.deadline_seconds
    spec["template"]["metadata"]["labels"][INSTANCE_LABEL] = job.name
    pod = spec["template"]["spec"]
    pod["subdomain"] = job.name
    if job.grace_seconds is not None:
        pod["terminationGracePeriodSeconds"] = math.ceil(job.grace_seconds) + GRACE_MARGIN_SECONDS
    if job.priority_class:
        pod["priorityClassName"] = job.priority_class
    if job.service_account:
        pod["serviceAccountName"] = job.service_account
    if job.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in job.image_pull_secrets]
    _fill_placement(pod, job)
    container = next(container for container in pod["containers"] if container["name"] == CONTAINER)
    _fill_container(container, job)
    _fill_volumes(pod, container, job)


def _fill_placement(pod: dict[str, Any], job: Job) -> None:
    selector = dict(pair.split("=", 1) for pair in job.node_selectors)
    if job.gpu_type:
        # GKE writes its accelerators in small letters, NVIDIA's feature discovery the product as the driver tells it
        label = GKE_GPU_LABEL if job.gpu_type.startswith("nvidia-") else FEATURE_DISCOVERY_GPU_LABEL
        selector[label] = job.gpu_type
    if selector:
        pod["nodeSelector"] = pod.get("nodeSelector", {}) | selector
    tolerations = [
        toleration for toleration in pod.pop("tolerations", []) if job.gpus_per_worker or toleration["key"] != GPU
    ]
    tolerations += [_toleration(text) for text in job.tolerations]
    if tolerations:
        pod["tolerations"] = tolerations


def _toleration(text: str) -> dict[str, str]:
    taint, _, effect = text.rpartition(":")
    key, equals, value = taint.partition("=")
    if equals:
        return {"key": key, "operator": "Equal", "value": value, "effect": effect}
    return {"key": key, "operator": "Exists", "effect": effect}


def _fill_container(container: dict[str, Any], job: Job) -> None:
    container["image"] = job.image
    container["command"] = ["python", "-m", f"trainer.{job.command}"]
    values = {"TRAINER_SERVICE": job.name, "TRAINER_WORKERS": str(job.workers)}
    for variable in container["env"]:
        if variable["name"] in values:
            variable["value"] = values[variable["name"]]
    if job.secrets:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in job.secrets]
    container["resources"] = {
        "requests": {"cpu": job.cpus, "memory": job.memory},
        "limits": {"memory": job.memory} | ({GPU: job.gpus_per_worker} if job.gpus_per_worker else {}),
    }


def _fill_volumes(pod: dict[str, Any], container: dict[str, Any], job: Job) -> None:
    """The job's claims in place of the files' own."""
    claims = {volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] not in claims]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] not in claims]
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = job.name
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            volume["emptyDir"]["sizeLimit"] = job.shared_memory
    mounted: dict[str, str] = {}
    for text in job.volumes:
        claim, path, *read_only = text.split(":")
        if claim not in mounted:
            mounted[claim] = f"claim-{len(mounted)}"
            pod["volumes"].append({"name": mounted[claim], "persistentVolumeClaim": {"claimName": claim}})
        mount: dict[str, Any] = {"name": mounted[claim], "mountPath": path}
        container["volumeMounts"].append(mount | ({"readOnly": True} if read_only else {}))

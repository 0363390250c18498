"""The state of a single pod of a run: which worker it is, whether it runs, what it waits for, how it ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.training.exit_status import describe, signal_of

Object = Mapping[str, Any]

INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
IMAGE_TROUBLES = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
)
CONFIGURATION_TROUBLES = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
OUT_OF_MEMORY = "OOMKilled"


@dataclass(frozen=True)
class Reason:
    """Why a run does not run. `kind` is one word for programs, `text` a line for people."""

    kind: str
    text: str


def worker_index(pod: Object) -> int:
    """The index of an Indexed Job's pod; 0 for any other pod."""
    labels, annotations = pod["metadata"].get("labels", {}), pod["metadata"].get("annotations", {})
    return int(labels.get(INDEX_LABEL) or annotations.get(INDEX_LABEL) or 0)


def attempts(pods: Sequence[Object]) -> dict[int, list[Object]]:
    """The pods of every worker, oldest first."""
    pods_of: dict[int, list[Object]] = {}
    for pod in sorted(pods, key=_age):
        pods_of.setdefault(worker_index(pod), []).append(pod)
    return pods_of


def newest(pods: Sequence[Object]) -> dict[int, Object]:
    return {index: tries[-1] for index, tries in attempts(pods).items()}


def _age(pod: Object) -> tuple[str, bool, str]:
    # times have whole seconds: of two pods of one second the one that has not ended is the newer
    return pod["metadata"].get("creationTimestamp") or "", not has_ended(pod), pod["metadata"]["name"]


def has_ended(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def has_started(pod: Object) -> bool:
    """Whether its container runs or ran, so that it has a log."""
    return any("waiting" not in status.get("state", {"waiting": {}}) for status in _containers(pod))


def is_running(pod: Object) -> bool:
    return (
        pod["status"].get("phase") == "Running"
        and not pod["metadata"].get("deletionTimestamp")
        and any("running" in status.get("state", {}) for status in _containers(pod))
    )


def exit_code(pod: Object) -> int | None:
    """The first exit code of its containers that is not 0; None where none ended badly."""
    codes = (status.get("state", {}).get("terminated", {}).get("exitCode") for status in _containers(pod))
    return next((int(code) for code in codes if code), None)


def how_it_ended(pod: Object) -> str:
    """How a pod failed, as `exited with 75`; empty while it lives or where it succeeded."""
    status = pod.get("status", {})
    disrupted = _condition(pod, "DisruptionTarget", "True")
    if status.get("phase") != "Failed" and not (disrupted and pod["metadata"].get("deletionTimestamp")):
        return ""
    if disrupted is not None:
        return f"was taken off its node ({disrupted.get('reason', 'disruption')}: {_line(disrupted)})"
    if status.get("reason"):
        return f"was stopped ({status['reason']}: {_line(status)})"
    if any(
        container.get("state", {}).get("terminated", {}).get("reason") == OUT_OF_MEMORY
        for container in _containers(pod)
    ):
        return "ran out of memory and was killed; give it more --memory"
    code = exit_code(pod) or 0
    return f"{describe(code)} and left with {code}" if signal_of(code) else describe(code)


def not_running_reason(pod: Object, events: Sequence[Object]) -> Reason | None:
    """The condition that a pod waits for which does not run; None where it runs or ended."""
    if is_running(pod) or has_ended(pod):
        return None
    if pod["metadata"].get("deletionTimestamp"):
        return Reason("terminating", f"is still ending on {pod['spec'].get('nodeName', 'its node')}")
    scheduled = _condition(pod, "PodScheduled", "False")
    if scheduled is not None:
        return _unschedulable(scheduled)
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting", {})
        why, text = waiting.get("reason", ""), _line(waiting)
        if why in IMAGE_TROUBLES:
            return Reason("image", f"the image {container.get('image', '')} cannot be pulled ({why}: {text})")
        if why in CONFIGURATION_TROUBLES:
            return Reason("configuration", f"its container cannot be made ({why}: {text})")
    troubles = [
        event
        for event in events
        if event["involvedObject"].get("uid") == pod["metadata"].get("uid") and _is_volume_trouble(event)
    ]
    if troubles:
        return Reason("volume", f"waits for a volume ({_line(troubles[-1])})")
    return Reason(
        "starting", f"starts on {pod['spec']['nodeName']}" if pod["spec"].get("nodeName") else "waits for the scheduler"
    )


def _unschedulable(condition: Object) -> Reason:
    text = _line(condition)
    if condition.get("reason") == "SchedulingGated":
        return Reason("queue", "is held back by its queue")
    if re.search(r"Insufficient \S*gpu", text):
        return Reason("no_gpu", f"no node has enough free GPUs ({text})")
    if "Insufficient" in text:
        return Reason(
            "no_node",
            f"no node has enough free {' or '.join(sorted(set(re.findall(r'Insufficient ([^.,]+)', text))))} ({text})",
        )
    if "affinity/selector" in text:
        return Reason("no_node", f"no node has the labels asked for, such as the kind of GPU ({text})")
    return Reason("no_node", f"no node takes it ({text})")


def _containers(pod: Object) -> Sequence[Object]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _condition(pod: Object, kind: str, status: str) -> Object | None:
    conditions = pod.get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == kind and each.get("status") == status), None)


def _is_volume_trouble(event: Object) -> bool:
    return event.get("reason") in ("FailedMount", "FailedAttachVolume")


def _line(state: Object) -> str:
    return " ".join((state.get("message") or "no message").split())

"""The one description of a run: what is to run, where, and with how much. Local processes and Kubernetes objects are
made from it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar, TypeVar

from launch import names
from launch.arguments import check_separator, sides, split
from trainer.cli import flags
from trainer.config.fields import at_least, flag
from trainer.errors import ConfigError, Problem
from trainer.storage.addresses import is_address
from trainer.tasks.configurations import EvaluateConfig, ExportConfig, PrepareConfig, TrainConfig
from trainer.training.cluster import batch_problem, batch_shares

COMMANDS: dict[str, type] = {
    "train": TrainConfig,
    "prepare": PrepareConfig,
    "evaluate": EvaluateConfig,
    "export": ExportConfig,
}
OVERLAYS = ("auto", "base", "single-gpu", "multi-gpu", "multi-worker", "gke-spot", "kueue", "jobset")
EXAMPLE = "--name=NAME --image=IMAGE -- --data_dir=/data/DATA --model_dir=/data/MODEL --epochs=1"

Flags = TypeVar("Flags", bound="JobFlags")


@dataclass(frozen=True)
class JobFlags:
    """The flags of `python -m launch.kubernetes` that describe a run."""

    GROUP: ClassVar[str] = "job"

    name: str = flag("name of the run and of all that is made for it")
    image: str = flag("container image with this trainer, as in registry/recurrent-trainer:gpu")
    namespace: str = flag("Kubernetes namespace", default="default")
    command: str = flag("which of the trainer's commands runs", default="train", choices=tuple(COMMANDS))
    overlay: str = flag(
        "files of k8s/overlays to start from; auto takes them by workers and GPUs", default="auto", choices=OVERLAYS
    )
    workers: int = flag("pods that train together, or prepare a dataset (as many as --num_tasks)", default=1)
    gpus_per_worker: int = flag("GPUs of a pod; 0 trains on CPUs", default=0)
    gpu_type: str = flag(
        "kind of GPU: GKE's name for it (nvidia-l4), or the product that NVIDIA's feature discovery tells "
        "(NVIDIA-A100-SXM4-80GB)",
        default="",
    )
    cpus: str = flag("CPUs of a pod, as in 4 or 500m", default="2")
    memory: str = flag("memory of a pod; shared memory is part of it", default="8Gi")
    shared_memory: str = flag("size of /dev/shm, which NCCL uses between the GPUs of a pod", default="1Gi")
    volumes: tuple[str, ...] = flag(
        "claims and where they are mounted, as in CLAIM:/path or CLAIM:/path:ro; several workers on several nodes "
        "need ReadWriteMany",
        default=("trainer:/data",),
    )
    retries: int = flag("failures of a defect's kind (exit code 1, out of memory) before the job fails", default=3)
    deadline_seconds: int = flag("the job fails after this much time, restarts and all; 0 is never", default=0)
    priority_class: str = flag("PriorityClass of the pods", default="")
    spot: bool = flag("run on GKE Spot VMs", default=False)
    queue: str = flag("Kueue LocalQueue that admits the job", default="")
    service_account: str = flag("ServiceAccount of the pods; its token is not mounted", default="")
    secrets: tuple[str, ...] = flag("Secrets whose keys become environment variables", default=())
    image_pull_secrets: tuple[str, ...] = flag("Secrets with which the image is pulled", default=())
    node_selectors: tuple[str, ...] = flag("labels that a node must have, as in KEY=VALUE", default=())
    tolerations: tuple[str, ...] = flag(
        "taints that are no obstacle, as in KEY:NoSchedule or KEY=VALUE:NoSchedule", default=()
    )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "workers")
        yield from at_least(self, 0, "gpus_per_worker", "retries", "deadline_seconds")
        yield from self._name_problems()
        yield from self._resource_problems()
        yield from self._overlay_problems()
        for volume in self.volumes:
            if not names.VOLUME.fullmatch(volume):
                yield Problem("volumes", volume, "is not a volume", "give CLAIM:/path or CLAIM:/path:ro")
        paths = [volume.split(":")[1] for volume in self.volumes if names.VOLUME.fullmatch(volume)]
        for path in sorted({path for path in paths if paths.count(path) > 1}):
            yield Problem(
                "volumes", ",".join(self.volumes), f"mounts two claims at {path}", "give every claim a path of its own"
            )

    def _name_problems(self) -> Iterator[Problem]:
        longest = names.longest_name(self.workers, jobset=self.overlay == "jobset")
        if not names.LABEL.fullmatch(self.name) or not self.name[0].isalpha():
            requested = "use small letters, digits and -, first a letter, last no -"
            yield Problem("name", self.name, "is not a name that a Service can have (RFC 1035)", requested)
        elif len(self.name) > longest:
            reason = f"has {len(self.name)} characters, too many for the names of its {self.workers} pods"
            yield Problem("name", self.name, reason, f"use {longest} or fewer")
        if not names.LABEL.fullmatch(self.namespace):
            yield Problem(
                "namespace", self.namespace, "is not an RFC 1123 label", "use up to 63 small letters, digits and -"
            )
        if not names.IMAGE.fullmatch(self.image):
            yield Problem(
                "image", self.image, "is not an image reference", "give one as in registry/recurrent-trainer:gpu"
            )
        for field in ("priority_class", "queue", "service_account", "secrets", "image_pull_secrets"):
            value = getattr(self, field)
            for name in (value,) if isinstance(value, str) else value:
                if name and not names.SUBDOMAIN.fullmatch(name):
                    yield Problem(field, name, "is not an RFC 1123 name", "use small letters, digits, - and .")
        for pair in self.node_selectors:
            if not names.PAIR.fullmatch(pair):
                yield Problem("node_selectors", pair, "is not a label", "give KEY=VALUE")
        for taint in self.tolerations:
            if not names.TOLERATION.fullmatch(taint):
                reason = "give KEY:EFFECT or KEY=VALUE:EFFECT with NoSchedule, PreferNoSchedule or NoExecute"
                yield Problem("tolerations", taint, "is not a taint", reason)

    def _resource_problems(self) -> Iterator[Problem]:
        for field, example in (("cpus", "4 or 500m"), ("memory", "16Gi"), ("shared_memory", "1Gi")):
            if not names.quantity(getattr(self, field)):
                yield Problem(field, getattr(self, field), "is not a quantity above 0", f"give one as in {example}")
        memory, shared = names.quantity(self.memory), names.quantity(self.shared_memory)
        if memory and shared and shared >= memory:
            yield Problem(
                "shared_memory",
                self.shared_memory,
                f"leaves nothing of --memory={self.memory}",
                "use less, or more memory",
            )
        if self.gpu_type and not self.gpus_per_worker:
            yield Problem(
                "gpu_type", self.gpu_type, "has no effect with --gpus_per_worker=0", "use --gpus_per_worker=1 or more"
            )
        elif self.gpu_type and not names.LABEL_VALUE.fullmatch(self.gpu_type):
            yield Problem("gpu_type", self.gpu_type, "is not a value of a node label", "give one as in nvidia-l4")

    def _overlay_problems(self) -> Iterator[Problem]:
        fits = {
            "base": ((1, 1), (0, 0)),
            "single-gpu": ((1, 1), (1, 1)),
            "multi-gpu": ((1, 1), (2, None)),
            "multi-worker": ((2, None), (0, None)),
        }
        if self.command == "prepare" and self.overlay in ("multi-worker", "jobset"):
            yield Problem(
                "overlay", self.overlay, "is for workers that train together", "leave it out with --command=prepare"
            )
        if self.overlay not in fits or self.command == "prepare" or self.workers < 1 or self.gpus_per_worker < 0:
            return
        wrong = [
            (field, low)
            for field, (low, high) in zip(("workers", "gpus_per_worker"), fits[self.overlay])
            if not low <= getattr(self, field) <= (math.inf if high is None else high)
        ]
        if wrong:
            flags_text = " and ".join(f"--{field}={getattr(self, field)}" for field, _ in wrong)
            requested = " and ".join(f"--{field}={low}" for field, low in wrong)
            yield Problem("overlay", self.overlay, f"does not fit {flags_text}", f"use {requested}, or --overlay=auto")

    @property
    def layers(self) -> str:
        """The overlay that fits workers and GPUs, where none is given."""
        if self.overlay != "auto":
            return self.overlay
        if self.command == "prepare":
            return "base"
        if self.workers > 1:
            return "multi-worker"
        return ("base", "single-gpu")[self.gpus_per_worker] if self.gpus_per_worker < 2 else "multi-gpu"


@dataclass(frozen=True)
class Job(JobFlags):
    """A checked description of a run: where it runs (`JobFlags`) and with which flags of the trainer (`config`)."""

    config: Any = None  # the trainer's configuration: TrainConfig, or that of another of `COMMANDS`

    @property
    def trainer_flags(self) -> list[str]:
        """The trainer's flags, one `--name=value` each, flag files read in and defaults left out."""
        return flags.to_arguments(self.config)

    @property
    def grace_seconds(self) -> float | None:
        """Seconds that a trainer takes at most from SIGTERM to its end; None for commands that save nothing on the
        way.
        """
        return getattr(getattr(self.config, "device", None), "grace_seconds", None)


def read(flags_class: type[Flags], arguments: Sequence[str]) -> tuple[Flags, Job]:
    """Reads `--name=... --image=... -- <flags of the trainer's command>`.

    Args:
      flags_class: `JobFlags`, or a dataclass that adds a command's own flags to it.

    Raises:
      ConfigError: all problems of both sides of `--` at once, and those between them.
    """
    check_separator(arguments, "launch.kubernetes", f"python -m launch.kubernetes submit {EXAMPLE}")
    launchers, trainers = split(arguments)
    before = flags.read(flags_class, launchers)
    if any(problem.flag == "command" for problem in before.problems):  # so nobody can tell what may stand behind --
        raise ConfigError(before.problems)
    command = COMMANDS[before.values["command"]]
    parts = sides(launchers, trainers, flags_class, command)
    settings = flags.read(flags_class, parts.launchers)
    config: flags.Reading[Any] = flags.read(command, parts.trainers)
    problems = parts.problems + settings.problems + config.problems
    if settings.config is not None and config.config is not None:
        job = _job(settings.config, config.config)
        others = [_job(other, config.config) for other in settings.others] + [
            _job(settings.config, other) for other in config.others
        ]
        named = {problem.flag for problem in problems}
        problems += [problem for problem in flags.lasting(_joint_problems, job, others) if problem.flag not in named]
        if not problems:
            return settings.config, job
    raise ConfigError(problems)


def _job(settings: JobFlags, config: Any) -> Job:
    return Job(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(JobFlags)}, config=config)


def problems(job: Job) -> Iterator[Problem]:
    """Everything wrong with a job: its own flags, the trainer's, and what does not fit together."""
    yield from job.problems()
    check = getattr(job.config, "problems", None)
    if check is not None:
        yield from check()
    yield from _joint_problems(job)


def pod_flags(job: Job) -> list[str]:
    """The trainer's flags in a pod: with GPUs it must not train on CPUs instead, which would take days unnoticed."""
    with_gpus = job.command == "train" and job.gpus_per_worker and not job.config.device.require_gpus
    return [*job.trainer_flags, *([f"--require_gpus={job.gpus_per_worker}"] if with_gpus else [])]


def local_command(job: Job) -> list[str]:
    """The arguments of `python` that run the job as processes of this host, with the same flags of the trainer."""
    if job.command != "train":
        # One process tree does what the tasks of a preparation do: the dataset is the same.
        trainer_flags = [line for line in job.trainer_flags if not line.startswith("--num_tasks=")]
        return ["-m", f"trainer.{job.command}", *trainer_flags]
    devices = job.config.device.devices_per_worker or max(job.gpus_per_worker, 1)
    settings = {"workers": job.workers, "devices_per_worker": devices, "restarts": job.retries}
    trainers = [
        line for line in job.trainer_flags if not line.startswith("--devices_per_worker=")
    ]  # launch.local's own flag
    return ["-m", "launch.local", *(f"--{name}={value}" for name, value in settings.items()), "--", *trainers]


def replicas(job: Job) -> int:
    """Devices over all workers, which share the global batch."""
    device = job.config.device
    if device.strategy == "one_device":
        return job.workers
    return job.workers * max(device.devices_per_worker or job.gpus_per_worker, 1)


def _joint_problems(job: Job) -> Iterator[Problem]:
    if job.command == "train":
        yield from _training_problems(job)
    elif job.command == "prepare":
        yield from _preparation_problems(job)
    elif job.workers > 1:
        yield Problem("workers", job.workers, f"has no effect with --command={job.command}", "use --workers=1")
    yield from _place_problems(job)


def _preparation_problems(job: Job) -> Iterator[Problem]:
    config: PrepareConfig = job.config
    requested = 1 if config.finish else config.num_tasks
    if job.workers != requested:
        reason = f"does not fit --num_tasks={config.num_tasks}{' --finish' * config.finish}"
        again = (
            f"use --workers={requested}"
            if config.finish or job.workers < 1
            else f"use --workers={requested} or --num_tasks={job.workers}"
        )
        yield Problem("workers", job.workers, reason, again)
    if config.task_index is not None:
        yield Problem(
            "task_index", config.task_index, "would be that of every pod", "leave it out: each pod knows its own"
        )


def _training_problems(job: Job) -> Iterator[Problem]:
    config: TrainConfig = job.config
    device = config.device
    if device.kernel == "cudnn" and not job.gpus_per_worker:
        yield Problem(
            "kernel",
            device.kernel,
            "needs GPUs, but --gpus_per_worker=0",
            "use --gpus_per_worker=1 or more, or --kernel=auto",
        )
    if job.workers > 1 and device.strategy in ("one_device", "mirrored"):
        reason = f"uses one of --workers={job.workers} only"
        yield Problem("strategy", device.strategy, reason, "leave it out: auto takes all workers")
    if job.workers == 1 and device.strategy == "multi_worker":
        yield Problem(
            "strategy", device.strategy, "needs several workers", "use --workers=2 or more, or --strategy=auto"
        )
    gpus, requested = job.gpus_per_worker, device.devices_per_worker
    if gpus and requested and requested != gpus:
        reason = f"does not use --gpus_per_worker={gpus}"
        yield Problem("devices_per_worker", requested, reason, f"leave it out, or use {gpus}")
    if gpus > 1 and device.strategy == "one_device":
        yield Problem(
            "strategy",
            device.strategy,
            f"uses one of --gpus_per_worker={gpus}",
            "use --strategy=auto or --gpus_per_worker=1",
        )
    (count, what), rows = batch_shares(config, replicas(job)), config.batch_rows
    if rows is not None and rows > 0 and count > 0 and rows % count:
        yield batch_problem(rows, count, what)
    if job.grace_seconds and job.deadline_seconds and job.deadline_seconds <= job.grace_seconds:
        reason = f"is over before --grace_seconds={job.grace_seconds}"
        yield Problem("deadline_seconds", job.deadline_seconds, reason, "use more, or 0")


def _place_problems(job: Job) -> Iterator[Problem]:
    """Files that are not there in the pods, and directories that would be gone with them or cannot be written."""
    if not all(names.VOLUME.fullmatch(volume) for volume in job.volumes):
        return  # told already
    mounts = [volume.split(":") for volume in job.volumes]
    places = job.config.places()
    for field, place in places.read:
        yield from _place_problem(field, place, mounts, written=False)
    for field, place in places.written:
        yield from _place_problem(field, place, mounts, written=True)


def _place_problem(field: str, place: str, mounts: Sequence[list[str]], *, written: bool) -> Iterator[Problem]:
    if is_address(place):
        return
    if "://" in place:
        yield Problem(field, place, "is not a path in the pods", "give a gs:// address, or a path on one of --volumes")
        return
    under = [mount for mount in mounts if PurePosixPath(place).is_relative_to(mount[1])]
    if not under:
        reason = (
            "is on none of --volumes, so it would be gone with the pods"
            if written
            else "is on none of --volumes, so pods do not have it"
        )
        near = (
            f"use a path such as {mounts[0][1].rstrip('/')}/{place.lstrip('./')}, or mount a claim there"
            if mounts
            else "mount a claim there"
        )
        yield Problem(field, place, reason, near)
    elif written and max(under, key=lambda mount: len(mount[1]))[2:] == ["ro"]:
        yield Problem(field, place, "is on a volume that is mounted read-only", "leave out :ro in --volumes")

"""The cluster from the environment: who the workers are, and which one this process is. Pure Python, no TensorFlow.

Read in this order: `TF_CONFIG` (TFJob, Vertex AI, `launch.local`), Indexed Job or JobSet, SLURM; else there is one
host. Workers are equal but for the first, the chief, which keeps checkpoints and reports.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.config.train import TrainConfig
from trainer.errors import ConfigError, Problem

DEFAULT_PORT = 12345
SIZES = {  # number of workers -> who sets it, without their addresses
    "WORLD_SIZE": "torchrun",
    "OMPI_COMM_WORLD_SIZE": "Open MPI",
    "PMI_SIZE": "MPI",
}
ALONE = "or use --strategy=mirrored for a worker that trains alone"


class UnreadClusterError(ConfigError):
    """The environment looks like a cluster's and does not tell who the workers are."""


@dataclass(frozen=True)
class Cluster:
    """`addresses`: one `host:port` a worker, the chief's first; `index`: this process's place among them."""

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        return self.index == 0


def host_name(job: str, index: int, service: str) -> str:
    """The DNS name of pod `index` of an Indexed Job behind a headless Service.

    For a JobSet the job is `{JOBSET_NAME}-{REPLICATED_JOB_NAME}-{JOB_INDEX}` and the service is `{JOBSET_NAME}`.
    """
    return f"{job}-{index}.{service}"


def cluster_from(environ: Mapping[str, str]) -> Cluster | None:
    """The cluster that the environment describes; None where this host works alone (a cluster of one worker included).

    Raises:
      ConfigError: the description is incomplete or contradicts itself; every problem is named.
    """
    if environ.get("TF_CONFIG", "").strip():
        source, cluster = "TF_CONFIG", _from_tf_config(environ["TF_CONFIG"])
    elif "JOB_COMPLETION_INDEX" in environ and "TRAINER_WORKERS" in environ:
        source, cluster = "JOB_COMPLETION_INDEX", _from_job(environ)
    elif "SLURM_PROCID" in environ and "SLURM_NTASKS" in environ:
        source, cluster = "SLURM_PROCID", _from_slurm(environ)
    else:
        if problems := list(_unread_problems(environ)):
            raise UnreadClusterError(problems)
        return None
    if cluster is None or (len(cluster.addresses) == 1 and cluster.index == 0):
        return None
    problems = list(_cluster_problems(source, cluster))
    if problems:
        raise ConfigError(problems)
    return cluster


def cluster_for(strategy: str, batch_rows: int | None, environ: Mapping[str, str]) -> Cluster | None:
    """The cluster that a run with these flags uses; `batch_rows` is None where the data tells the rows of a global
    batch.

    Raises:
      ConfigError: the environment's cluster is wrong, or the flags do not fit it.
    """
    alone = strategy not in ("auto", "multi_worker")  # on purpose
    try:
        cluster = cluster_from(environ)
    except UnreadClusterError:
        if not alone:
            raise
        cluster = None
    problems = []
    if strategy == "multi_worker" and cluster is None:
        remedy = "set TF_CONFIG for every worker, or start with python -m launch.local --workers=2"
        problems.append(
            Problem("strategy", strategy, "finds no cluster of two or more workers in the environment", remedy)
        )
    if cluster is not None:
        count = len(cluster.addresses)
        if alone:
            reason = f"keeps to one host, but the environment names {count} workers"
            problems.append(Problem("strategy", strategy, reason, "use auto or multi_worker, or start one worker"))
        if batch_rows is not None and batch_rows % count:
            problems.append(batch_problem(batch_rows, count, "workers"))
    if problems:
        raise ConfigError(problems)
    return cluster


def _unread_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yields what tells of several workers and does not tell who they are: each would take itself for the only one."""
    if "JOB_COMPLETION_INDEX" in environ:
        reason = "is that of an Indexed Job, whose number of pods is unknown: TRAINER_WORKERS is missing"
        remedy = f"set it for every worker, 1 where there is one, {ALONE}"
        yield Problem("JOB_COMPLETION_INDEX", environ["JOB_COMPLETION_INDEX"], reason, remedy)
    for name, source in SIZES.items():
        text = environ.get(name, "").strip()
        if text.isdigit() and int(text) > 1:
            reason = f"tells of {text} workers of {source}, which does not tell their addresses"
            yield Problem(name, text, reason, f"set TF_CONFIG for every worker, {ALONE}")
    if environ.get("SLURM_NTASKS", "").strip() not in ("", "0", "1"):
        reason = "tells of several tasks, but SLURM_PROCID, which srun sets for each, is missing"
        yield Problem("SLURM_NTASKS", environ["SLURM_NTASKS"], reason, f"start with srun, {ALONE}")


def batch_shares(config: TrainConfig, replicas: int) -> tuple[int, str]:
    """How many share a global batch, and what they are: replicas, and the parts that flags cut each one's share
    into.
    """
    flags = config.batch_parts
    divided = " and ".join(f"--{name}={count}" for name, count in flags.items() if count > 1)
    return replicas * math.prod(
        flags.values()
    ), f"parts ({replicas} replicas with {divided})" if divided else "replicas"


def batch_problem(batch_size: int, count: int, what: str) -> Problem:
    """A global batch that cannot be split evenly over `count` of `what`."""
    low = batch_size // count * count
    choices = f"{low} or {low + count}" if low else str(count)
    return Problem("batch_size", batch_size, f"cannot be split over {count} {what}", f"use {choices}")


def _cluster_problems(source: str, cluster: Cluster) -> Iterator[Problem]:
    addresses = cluster.addresses
    for address in dict.fromkeys(addresses):
        places = [index for index, other in enumerate(addresses) if other == address]
        if len(places) > 1:
            shown = " and ".join(str(place) for place in places)
            yield Problem(
                source, None, f"gives workers {shown} one address, {address}", "give every worker its own host or port"
            )
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            yield Problem(
                source, None, f"has the address {address!r}, which is not host:port", "write it as in 10.0.0.1:12345"
            )
    if not 0 <= cluster.index < len(addresses):
        reason = f"makes this process worker {cluster.index}, but there are {len(addresses)} workers"
        yield Problem(source, None, reason, f"use an index from 0 to {len(addresses) - 1}")


def _from_tf_config(text: str) -> Cluster | None:
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            [Problem("TF_CONFIG", None, f"is not JSON ({error})", "see TensorFlow's guide on TF_CONFIG")]
        ) from None
    if not isinstance(content, dict):
        raise ConfigError([Problem("TF_CONFIG", None, "is not a JSON object", "see TensorFlow's guide on TF_CONFIG")])
    jobs, task = content.get("cluster") or {}, content.get("task") or {}
    if problems := list(_shape_problems(content, jobs, task)):
        raise ConfigError(problems) if jobs else UnreadClusterError(problems)
    if not jobs:
        return None
    problems = [
        Problem("TF_CONFIG", None, f"lists {name!r}, which this program does not use", "list chief and worker only")
        for name in sorted(set(jobs) - {"chief", "worker"})
    ]
    chiefs, workers = (list(jobs.get(name, [])) for name in ("chief", "worker"))
    if len(chiefs) > 1:
        problems.append(
            Problem("TF_CONFIG", None, f"lists {len(chiefs)} chiefs", "list one, and the others under worker")
        )
    kind, index = task.get("type"), task.get("index")
    if kind not in ("chief", "worker") or (kind == "chief" and not chiefs):
        problems.append(
            Problem("TF_CONFIG", None, f"has the task type {kind!r}", "use worker, or chief where one is listed")
        )
    if not str(index).isdigit():
        problems.append(Problem("TF_CONFIG", None, f"has the task index {index!r}", "use a whole number from 0"))
    if problems:
        raise ConfigError(problems)
    place = int(str(index)) + (len(chiefs) if kind == "worker" else 0)
    return Cluster(tuple(str(address) for address in chiefs + workers), place)


def _shape_problems(content: dict[str, Any], jobs: Any, task: Any) -> Iterator[Problem]:
    """Yields what is no description of a cluster, or one that is not read."""
    remedy = "see TensorFlow's guide on TF_CONFIG"
    for name, part in (("cluster", jobs), ("task", task)):
        if not isinstance(part, dict):
            yield Problem("TF_CONFIG", None, f"has a {name} that is not a JSON object", remedy)
            return
    for name, addresses in jobs.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            yield Problem("TF_CONFIG", None, f"lists under {name} what is not a list of addresses", remedy)
    if not jobs and ("sparseCluster" in content or task.get("index") not in (None, 0, "0")):
        what = "a sparseCluster" if "sparseCluster" in content else f"a task with the index {task['index']!r}"
        reason = f"has {what} and no cluster, so the other workers are unknown"
        yield Problem("TF_CONFIG", None, reason, f"list all workers under cluster, {ALONE}")


def _numbers(environ: Mapping[str, str], **defaults: int | None) -> dict[str, int]:
    """The named whole numbers of the environment; a default of None makes one required. Raises ConfigError with all
    that are wrong.
    """
    values, problems = {}, []
    for name, default in defaults.items():
        text = environ.get(name, "").strip()
        if text.isdigit():
            values[name] = int(text)
        elif text:
            problems.append(Problem(name, text, "is not a whole number", "use a number from 0"))
        elif default is None:
            problems.append(Problem(name, None, "is missing", "set it for every worker"))
        else:
            values[name] = default
    if problems:
        raise ConfigError(problems)
    return values


def _from_job(environ: Mapping[str, str]) -> Cluster | None:
    numbers = _numbers(environ, JOB_COMPLETION_INDEX=None, TRAINER_WORKERS=None, TRAINER_PORT=DEFAULT_PORT, JOB_INDEX=0)
    workers = numbers["TRAINER_WORKERS"]
    if workers < 1:
        raise ConfigError([Problem("TRAINER_WORKERS", workers, "is below 1", "give the number of workers")])
    if workers == 1 and numbers["JOB_COMPLETION_INDEX"] == 0:
        return None
    in_set = "JOBSET_NAME" in environ
    needed = ("JOBSET_NAME", "REPLICATED_JOB_NAME") if in_set else ("TRAINER_JOB_NAME", "TRAINER_SERVICE")
    missing = [Problem(name, None, "is missing", "set it for every worker") for name in needed if not environ.get(name)]
    if missing:
        raise ConfigError(missing)
    job, service = environ[needed[0]], environ[needed[1]]
    if in_set:
        job, service = f"{job}-{service}-{numbers['JOB_INDEX']}", job
    addresses = (f"{host_name(job, index, service)}:{numbers['TRAINER_PORT']}" for index in range(workers))
    return Cluster(tuple(addresses), numbers["JOB_COMPLETION_INDEX"])


def _from_slurm(environ: Mapping[str, str]) -> Cluster | None:
    numbers = _numbers(
        environ, SLURM_PROCID=None, SLURM_NTASKS=None, SLURM_NTASKS_PER_NODE=0, TRAINER_PORT=DEFAULT_PORT
    )
    tasks = numbers["SLURM_NTASKS"]
    if tasks <= 1:
        return None
    text = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
    try:
        nodes = list(expand_hosts(text))
    except ValueError as error:
        problem = Problem("SLURM_JOB_NODELIST", text, f"cannot be read ({error})", "start with srun, or set TF_CONFIG")
        raise ConfigError([problem]) from None
    if not nodes:
        raise ConfigError(
            [Problem("SLURM_JOB_NODELIST", text or None, "names no nodes", "start with srun, or set TF_CONFIG")]
        )
    counts = _tasks_per_node(environ, numbers["SLURM_NTASKS_PER_NODE"] or -(-tasks // len(nodes)), len(nodes))
    places = [(node, task) for node, count in zip(nodes, counts) for task in range(count)]
    if len(places) < tasks:
        reason = f"does not fit {len(nodes)} nodes with {len(places)} tasks together"
        raise ConfigError(
            [Problem("SLURM_NTASKS", tasks, reason, "use srun --ntasks-per-node so that the tasks fit the nodes")]
        )
    return Cluster(
        tuple(f"{node}:{numbers['TRAINER_PORT'] + task}" for node, task in places[:tasks]), numbers["SLURM_PROCID"]
    )


def _tasks_per_node(environ: Mapping[str, str], even: int, nodes: int) -> list[int]:
    """Tasks on each node, in order (SLURM's default distribution): from a text like `2(x3),1` where SLURM gives it,
    else `even`.
    """
    text = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE", "")
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in parts for _ in range(int(times or 1))] or [even] * nodes


def expand_hosts(text: str) -> Iterator[str]:
    """The host names of a SLURM list such as `node[01-03,07],head`, in order; leading zeros stay."""
    for part in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        choices = [
            list(_range(piece[1:-1])) if piece.startswith("[") else [piece]
            for piece in re.findall(r"\[[^\]]*\]|[^\[\]]+", part)
        ]
        yield from ("".join(name) for name in itertools.product(*choices))


def _range(text: str) -> Iterator[str]:
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise ValueError(f"[{text}] is not a list of numbers")
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))

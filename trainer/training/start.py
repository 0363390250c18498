"""From checked flags to the process that trains: the cluster, the watchdog, and only then TensorFlow, whose import
takes seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from trainer.cli.command import answer, line_of
from trainer.cli.flag_of_value import named
from trainer.cli.lean_imports import without_matplotlib
from trainer.cli.quiet import banner_hidden
from trainer.config.splits import splits_through
from trainer.config.train import TrainConfig
from trainer.errors import EXIT_DONE, ConfigError, TrainerError
from trainer.storage.lease import Lease, acquire
from trainer.storage.workspace import Workspace
from trainer.tasks import datasets
from trainer.training import process_age, run_files  # noqa: F401 (the start is noted at the import, before the fork)
from trainer.training.cluster import Cluster, cluster_for
from trainer.training.preemption import Preemption
from trainer.training.supervisor import Heartbeat, supervise


def start(config: TrainConfig, preemption: Preemption) -> dict[str, Any]:
    """The body of `python -m trainer.train`; with a cluster the process that returns is a child of the one that
    called.
    """
    cluster = cluster_for(config.device.strategy, config.batch_rows, os.environ)
    try:
        with _writer(config, cluster) as lease, Workspace() as space:
            result = _start(_local(config, space, publishes=lease is not None), cluster, preemption, space, lease)
    except TrainerError as error:
        if cluster is None:
            raise
        sys.stderr.write("".join(f"error: {line}\n" for line in str(named(error, config)).splitlines()))
        _leave_at_once(error.exit_code)
    if cluster is not None:
        answer(line_of(result))
        _leave_at_once(EXIT_DONE)
    return result


@contextlib.contextmanager
def _writer(config: TrainConfig, cluster: Cluster | None) -> Iterator[Lease | None]:
    """The right to write the model directory, which the chief holds for its group; None for the others and dry runs."""
    if config.debug.dry_run or (cluster is not None and cluster.index):
        yield None
        return
    lease = acquire(config.model_dir)
    try:
        yield lease
    finally:
        lease.release()


def _local(config: TrainConfig, space: Workspace, *, publishes: bool) -> TrainConfig:
    """The configuration with paths of this host; the model directory holds what a run goes on from."""
    storage, model_dir = config.storage, config.model_dir
    data_dir = space.dataset(
        config.data_dir, splits_through("validation"), storage.cache_gigabytes, stream=storage.gcs == "stream"
    )
    if not config.debug.dry_run:
        model_dir = space.go_on(model_dir, run_files.needed, run_files.PUBLISHED_LAST, publishes=publishes)
    return dataclasses.replace(config, data_dir=data_dir, model_dir=model_dir)


def _start(
    config: TrainConfig, cluster: Cluster | None, preemption: Preemption, space: Workspace, lease: Lease | None
) -> dict[str, Any]:
    manifest = datasets.read(config.data_dir)
    if problems := list(
        config.foreign_problems(manifest.task, f"has no effect on {config.data_dir}, a {manifest.task} dataset")
    ):
        raise ConfigError(problems)
    if not config.debug.dry_run:
        run_files.check_resumable(config, manifest)
    heartbeat = Heartbeat()
    if cluster is not None:
        heartbeat = supervise(config.device.peer_timeout_seconds, config.device.grace_seconds)
    space.begin()
    if lease is not None:
        lease.renew()  # fetching the run may have taken long
        lease.keep()
    with banner_hidden(), without_matplotlib():
        from trainer.training.run import train

    check_writer = (lambda: None) if lease is None else lease.check
    return train(config, manifest, cluster, preemption, heartbeat, space=space, check_writer=check_writer)


def _leave_at_once(code: int) -> NoReturn:
    """Ends the process without the interpreter's own end, in which TensorFlow can wait for ever for peers that are
    gone.
    """
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)

"""One training run, from a checked configuration to its result."""

from __future__ import annotations

import json
import logging
import re
import resource
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config.fields import to_dict
from trainer.config.train import TrainConfig
from trainer.dataset.schema import Manifest
from trainer.errors import ConfigError, DivergedError, Problem, RestartError
from trainer.nn.recurrent import gate_counts
from trainer.storage.workspace import Workspace
from trainer.tasks.registry import task_for
from trainer.tasks.task import Task
from trainer.training import checkpoint_files, run_files
from trainer.training.checkpoint import DIRECTORY, Checkpoints, LoopState, Writer
from trainer.training.cluster import Cluster
from trainer.training.loop import Loop, RunLength
from trainer.training.optimizer import Optimizer
from trainer.training.preemption import Preemption
from trainer.training.reporting import Report, SilentReport
from trainer.training.step import Stepper
from trainer.training.strategy import check_batch, configure_devices, dtype_policy, make_strategy
from trainer.training.supervisor import Heartbeat
from trainer.training.workers import Workers

logger = logging.getLogger(__name__)


PEER_ERRORS = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
# What a worker of a cluster trained with, up to its end by `os._exit`: taking TensorFlow's iterators down, when the
# peers had left already, was seen to hang.
_NEVER_TAKEN_DOWN: list[Loop] = []
PEER_WORDS = re.compile("collective|coordination|connection|socket|heartbeat|remote task|incarnation", re.IGNORECASE)


def train(
    config: TrainConfig,
    manifest: Manifest,
    cluster: Cluster | None,
    preemption: Preemption,
    heartbeat: Heartbeat,
    make_task: Callable[[TrainConfig, Manifest], Task] = task_for,
    space: Workspace | None = None,
    check_writer: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Trains, or goes on training, and gives the keys of the command's last line.

    The paths in `config` are those that `space` gave; checkpoints are published through it. `check_writer` raises where
    another run writes the model directory by now.

    Raises:
      ConfigError: devices or batch do not fit, or the workers of a cluster were started differently.
      DataError, DivergedError, ReplicaError, RestartError: as their names say.
    """
    if config.debug.check_numerics:
        tf.debugging.enable_check_numerics()
    devices = configure_devices(config.device)
    try:
        strategy = make_strategy(config.device, devices, cluster)
        heartbeat.beat()
        workers = Workers(strategy, cluster)
        check_alike(workers, config, manifest)
        task = make_task(config, manifest)
        check_batch(config, task.data.batch_rows, strategy.num_replicas_in_sync)
        logger.info(
            "%s on %d x %s, %d examples an epoch", task.name, len(devices), devices[0], task.data.examples_per_epoch
        )
        goes_on = not config.debug.dry_run and bool(checkpoint_files.steps_of(Path(config.model_dir) / DIRECTORY))
        stepper = build(task, strategy, goes_on)
        heartbeat.beat()
        if config.debug.dry_run:
            return _dry_run(task, stepper)
        return _run(task, stepper, workers, preemption, heartbeat, space or Workspace(), check_writer)
    except tf.errors.InvalidArgumentError as error:
        if not config.debug.check_numerics:
            raise
        raise DivergedError(_first_bad_op(str(error))) from None
    except tf.errors.OpError as error:
        if cluster is not None and (isinstance(error, PEER_ERRORS) or PEER_WORDS.search(str(error))):
            reason = str(error).strip().splitlines()[0]
            raise RestartError(
                f"a peer was lost ({reason}); start the group again to go on from the last checkpoint"
            ) from None
        raise


def check_alike(workers: Workers, config: TrainConfig, manifest: Manifest) -> None:
    """Raises ConfigError where the workers have other flags (paths aside), data or versions than the chief."""
    reason = to_dict(config) | {"data_dir": "", "model_dir": ""}
    text = json.dumps([reason, manifest.fingerprint, run_files.versions()], sort_keys=True)
    digests = workers.exchange(zlib.crc32(text.encode()))[:, 0]
    odd = [str(index) for index, digest in enumerate(digests) if digest != digests[0]]
    if odd:
        difference = f"has other flags, data or versions on worker {', '.join(odd)} than on worker 0"
        raise ConfigError(
            [
                Problem(
                    "strategy",
                    config.device.strategy,
                    difference,
                    "start all workers with one command, image and dataset",
                )
            ]
        )


def build(task: Task, strategy: tf.distribute.Strategy, goes_on: bool = False) -> Stepper:
    """Model, optimizer and compiled steps; weights depend on the seed and what is fitted, unless a checkpoint `goes_on`
    and brings them.
    """
    keras.utils.set_random_seed(task.config.seed)
    if not goes_on:
        task.objective.fit()
    with strategy.scope():
        model = task.objective.build_model(dtype_policy(task.config.device.precision))
        task.objective.build_variables(model)
        variables = [variable.value for variable in model.trainable_variables]
        gates = gate_counts(model.trainable_variables)
        optimizer = Optimizer(
            task.config.optimization, variables, gates, scale_loss=task.config.device.precision == "float16"
        )
    return Stepper(task, model, optimizer, strategy)


def _run(
    task: Task,
    stepper: Stepper,
    workers: Workers,
    preemption: Preemption,
    heartbeat: Heartbeat,
    space: Workspace,
    check_writer: Callable[[], None],
) -> dict[str, Any]:
    config = task.config
    state = LoopState()
    keep = config.budget.keep_checkpoints

    def published() -> None:
        run_files.check_there(config.model_dir)
        space.publish()

    writer = Writer(check_writer, published) if workers.is_chief else None
    checkpoints = Checkpoints(config.model_dir, stepper.model, stepper.optimizer, state, keep, writer)
    resumed_from, carried = _resume(checkpoints, workers)
    replicas = stepper.strategy.num_replicas_in_sync
    if resumed_from is not None:
        logger.info("resumed from step %d", resumed_from)
        if state.replicas != replicas:
            logger.info(
                "%d replicas instead of %d: the order of the data goes on, noise is another", replicas, state.replicas
            )
    if replicas > 1:
        logger.info("a step sums %d bytes over %d replicas, in one all-reduce", stepper.reduced_bytes, replicas)
    plan = RunLength.of(config, task.data.examples_per_epoch, task.data.steps_for)
    report: Report = SilentReport()
    if workers.is_chief:
        run_files.write(config, task.manifest, space.to_addresses)
        report = Report(config.model_dir, resumed_from or 0, state.train_seconds, plan.total_steps, plan.train_seconds)
    loop = Loop(task, stepper, plan, checkpoints, state, report, workers, preemption, heartbeat)
    if workers.count > 1:
        _NEVER_TAKEN_DOWN.append(loop)
    first, seconds_before = checkpoints.step, state.train_seconds
    try:
        preemption.begin(config.device.grace_seconds)
        heartbeat.begin()  # after it: from now on the supervisor passes SIGTERM on
        for _ in loop.run(carried):
            pass
    finally:
        checkpoints.close()
        report.close()
    result = _result(loop, checkpoints.step - first, state.train_seconds - seconds_before)
    return result | {"resumed_from": resumed_from}


def _result(loop: Loop, steps: int, seconds: float) -> dict[str, Any]:
    """The keys of the last line, of a process that has taken so many steps in so many seconds."""
    state, (examples, timesteps) = loop.state, loop.read / seconds if steps else (0.0, 0.0)
    return {
        "step": loop.checkpoints.step,
        "loss": loop.last_loss if steps else None,
        "train_seconds": round(state.train_seconds, 3),
        "examples_per_second": round(examples, 1),
        "tokens_per_second": round(timesteps, 1),
        "startup_seconds": None if loop.startup_seconds is None else round(loop.startup_seconds, 3),
        "best": {"step": state.best_step, "score": state.best_score} if state.best_step is not None else None,
        "finished": state.finished or "budget spent",
    }


def _resume(checkpoints: Checkpoints, workers: Workers) -> tuple[int | None, list[np.ndarray]]:
    """Restores the chief's newest whole checkpoint everywhere; gives its step, or None, and what steps hand on."""
    newest = checkpoints.newest() if workers.is_chief else None
    step = int(workers.exchange(-1 if newest is None else newest)[0, 0])
    return (None, []) if step < 0 else (step, checkpoints.restore(step))


def _first_bad_op(message: str) -> str:
    """One line out of the many of `tf.debugging.enable_check_numerics`: what was found, at which op, made by which line
    of ours.
    """
    match = re.search(r"Detected ((?:Infinity|NaN).*?) \(#", message, re.DOTALL)
    node = re.search(r"Detected at node (\S+?)(?:/CheckNumericsV2)? ", message)
    frames = re.findall(r'File "[^"]*?(trainer/[^"]+)", line (\d+), in (\w+)', message)
    place = f" ({frames[-1][0]}:{frames[-1][1]} in {frames[-1][2]})" if frames else ""
    what = match.group(1) if match else message.splitlines()[0]
    return (
        f"--check_numerics: {what} at {node.group(1) if node else 'an op without a name'}{place}; lower "
        "--learning_rate or check the data"
    )


def _dry_run(task: Task, stepper: Stepper) -> dict[str, Any]:
    """One step and one look at everything; nothing is written."""
    plan = RunLength.of(task.config, task.data.examples_per_epoch, task.data.steps_for)
    for variable in stepper.model.trainable_variables:
        sys.stderr.write(f"{variable.path:<50} {tuple(variable.shape)!s:<18} {variable.dtype}\n")
    parameters = sum(int(tf.size(variable.value)) for variable in stepper.model.trainable_variables)
    batches = iter(task.data.training_batches(0, plan.total_examples))
    started = time.perf_counter()
    state = stepper.initial_state(task.config.budget.batch_size)
    table, _ = stepper.inner_loop(batches, tf.constant(np.int32(1)), state, *plan.progress(0, 0.0, 0.0).tensors())
    loss = float(table.numpy()[0, 0])
    rows = task.data.batch_rows[0] if len(task.data.batch_rows) == 1 else None
    return {
        "dry_run": True,
        "step": 1,
        "loss": loss,
        "parameters": parameters,
        "examples_per_epoch": task.data.examples_per_epoch,
        "total_steps": plan.total_steps,
        "inputs": {name: [list(spec.shape), spec.dtype.name] for name, spec in task.data.signature(rows).items()},
        "first_step_seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mb": _peak_memory_mb(),
    }


def _peak_memory_mb() -> dict[str, float]:
    peaks = {"host": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}
    for gpu in tf.config.list_logical_devices("GPU"):
        peaks[gpu.name] = round(
            tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] / 2**20, 1
        )
    return peaks

"""Training anew on other rows, by the code and the flags of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator

import keras

from trainer.config.train import DebugFlags, TrainConfig
from trainer.dataset.schema import Manifest
from trainer.tasks.task import Task
from trainer.training.preemption import Preemption
from trainer.training.run import train
from trainer.training.supervisor import Heartbeat


@contextlib.contextmanager
def refitted(
    config: TrainConfig, manifest: Manifest, make_task: Callable[[TrainConfig, Manifest], Task]
) -> Iterator[str]:
    """Trains a task of other rows as the run of `config` was, budget and seed included, and gives the model directory,
    gone afterwards.

    Raises:
      DataError, DivergedError, RestartError: as `train`.
    """
    keras.backend.clear_session()  # of the training before
    with tempfile.TemporaryDirectory(prefix="refit-") as directory, Preemption() as preemption:
        train(alone(config, directory), manifest, None, preemption, Heartbeat(), make_task)
        yield directory


def alone(config: TrainConfig, model_dir: str) -> TrainConfig:
    """The configuration for this process by itself: without other workers, into another directory, with nothing to
    debug.
    """
    device = config.device
    if device.strategy == "multi_worker":
        device = dataclasses.replace(device, strategy="auto")
    return dataclasses.replace(config, model_dir=model_dir, device=device, debug=DebugFlags())

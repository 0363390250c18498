"""A trained model, rebuilt from its model directory."""

from __future__ import annotations

import google_crc32c
import numpy as np

from trainer.config.train import TrainConfig
from trainer.dataset.schema import Manifest
from trainer.nn.model import SequenceModel
from trainer.tasks.registry import task_for
from trainer.tasks.task import Task
from trainer.training.checkpoint import restore_weights


def restored_model(
    config: TrainConfig, manifest: Manifest, model_dir: str, checkpoint: str, average: int = 0
) -> tuple[Task, SequenceModel, int]:
    """Builds the task and its model, loads weights as `restore_weights` does, and gives both with the weights' step.

    The model computes in float32 on kernels that every device has, whatever it was trained with.

    Raises:
      DataError: there is no checkpoint, or it does not fit.
    """
    task = task_for(config, manifest)
    return task, *restored(task, model_dir, checkpoint, average)


def restored(task: Task, model_dir: str, checkpoint: str, average: int = 0) -> tuple[SequenceModel, int]:
    """The model of a task, as `restored_model` gives it."""
    model = task.objective.build_model("float32")
    # before the model runs: one trained with --kernel=cudnn may be on a host without a GPU
    model.use_portable_kernels()
    task.objective.build_variables(model)
    return model, restore_weights(model_dir, model, checkpoint, average)


def weights_checksum(model: SequenceModel) -> str:
    """CRC32C of all weights, eight hexadecimal digits: the same for the same model, whatever run or mean of checkpoints
    it is from.
    """
    checksum = google_crc32c.Checksum()
    for variable in model.weights:
        checksum.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return checksum.digest().hex()

"""Checkpoints: the whole state of a run, so that a restart goes on as if nothing had happened."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer.errors import DataError, StorageError
from trainer.training.optimizer import Optimizer

logger = logging.getLogger(__name__)

DIRECTORY = "checkpoints"
BEST = "best"
PREFIX = "ckpt"


@dataclass
class LoopState:
    """What the loop itself remembers between steps; the data's position is the step."""

    train_seconds: float = 0.0
    best_score: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    finished: str = ""  # why the run ended, empty while it goes on


class _SavedState(tf.train.experimental.PythonState):
    """Carries a `LoopState` inside a TensorFlow checkpoint."""

    def __init__(self, state: LoopState):
        self.state = state

    def serialize(self) -> str:
        return json.dumps(asdict(self.state))

    def deserialize(self, string_value: str | bytes) -> None:
        for name, value in json.loads(string_value).items():
            setattr(self.state, name, value)


class _SavedArrays(tf.train.experimental.PythonState):
    """Carries the arrays that a step hands to the next one (`parts`, empty where there are none) inside a TensorFlow checkpoint."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []

    def serialize(self) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, *self.parts)
        return buffer.getvalue()

    def deserialize(self, string_value: bytes) -> None:
        with np.load(io.BytesIO(string_value)) as arrays:
            self.parts = [arrays[f"arr_{index}"] for index in range(len(arrays.files))]


class Checkpoints:
    """The last checkpoints of a run in `MODEL_DIR/checkpoints`, and the best in `best/` beside them."""

    def __init__(self, model_dir: str, model: keras.Model, optimizer: Optimizer, state: LoopState, keep: int):
        self._directory = Path(model_dir) / DIRECTORY
        self._optimizer = optimizer
        self.carried = _SavedArrays()
        whole = tf.train.Checkpoint(model=_by_path(model), optimizer=optimizer, loop=_SavedState(state), carried=self.carried)
        self._last = tf.train.CheckpointManager(whole, str(self._directory), max_to_keep=keep, checkpoint_name=PREFIX)
        weights = tf.train.Checkpoint(model=_by_path(model))
        self._best = tf.train.CheckpointManager(weights, str(self._directory / BEST), max_to_keep=1, checkpoint_name=PREFIX)
        self._whole = whole

    @property
    def step(self) -> int:
        return int(self._optimizer.step.numpy())

    def restore(self) -> int | None:
        """Restores the newest checkpoint and gives its step, or None where there is none.

        Raises:
          DataError: the checkpoint does not fit the model, or is damaged.
        """
        path = self._last.latest_checkpoint
        if path is None:
            return None
        try:
            self._whole.restore(path).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise DataError(f"{path} cannot be restored ({str(error).splitlines()[0]}); delete it to use the one before") from None
        return self.step

    def save(self) -> str:
        """Saves everything; StorageError where the disk refuses (checkpoints saved before stay as they are)."""
        path = self._write(self._last)
        logger.info("saved %s", path)
        return path

    def save_best(self) -> str:
        """Saves the weights as the best ones so far."""
        return self._write(self._best)

    def _write(self, manager: tf.train.CheckpointManager) -> str:
        try:
            path: str = manager.save(checkpoint_number=self.step)
        except (tf.errors.OpError, OSError) as error:
            reason = getattr(error, "message", None) or str(error)
            raise StorageError(
                f"{manager.directory} takes no checkpoint of step {self.step} ({reason.splitlines()[0]}); "
                "free space and run the same command again: what was saved before is whole"
            ) from None
        return path


def _by_path(model: keras.Model) -> dict[str, tf.Variable]:
    """All weights by name (Keras' own random states are no part of it, nothing uses them).

    TensorFlow's own walk over a Keras 3 model passes over layers that stand in lists, without a word.
    """
    named = {variable.path: variable.value for variable in model.weights}
    if len(named) != len(model.weights):
        raise ValueError("two variables of the model have one path")
    return named


def restore_weights(model_dir: str, model: keras.Model, which: str, average: int = 0) -> int:
    """Loads the `best` or `last` weights of a run into a built model and gives their step.

    With `average` above 0 they are the mean of the last so many checkpoints instead (Junczys-Dowmunt et al. 2016), and the step is that of
    the last one.

    Raises:
      DataError: there are none, or fewer than `average`, or they do not fit.
    """
    directory = Path(model_dir) / DIRECTORY
    path = None
    if which == BEST and not average:
        path = tf.train.latest_checkpoint(str(directory / BEST))
    path = path or tf.train.latest_checkpoint(str(directory))
    if path is None:
        raise DataError(f"{model_dir} has no checkpoint; train it with python -m trainer.train --model_dir={model_dir}")
    if not average:
        return _load(path, model)
    state = tf.train.get_checkpoint_state(str(directory))
    paths = list(state.all_model_checkpoint_paths)[-average:]
    if len(paths) < average:
        remedy = f"average fewer, or train with --keep_checkpoints={average}"
        raise DataError(f"{directory} holds {len(paths)} checkpoints, not {average}; {remedy}")
    sums = [np.zeros(variable.shape, np.float64) for variable in model.weights]
    for path in paths:
        step = _load(path, model)
        for total, variable in zip(sums, model.weights):
            total += variable.numpy()
    for total, variable in zip(sums, model.weights):
        variable.assign(total / average)
    return step


def _load(path: str, model: keras.Model) -> int:
    """Loads the weights of one checkpoint and gives its step; DataError where they do not fit."""
    try:
        tf.train.Checkpoint(model=_by_path(model)).restore(path).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise DataError(f"{path} does not fit the model ({str(error).splitlines()[0]}); evaluate with the version that wrote it") from None
    return int(path.rpartition("-")[2])

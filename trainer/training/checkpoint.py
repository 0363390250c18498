"""Checkpoints: the whole state of a run, so that a restart goes on as if nothing had happened."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import DataError
from trainer.nn.model import SequenceModel
from trainer.storage.plain_path import plain_path
from trainer.training import checkpoint_files as files
from trainer.training.optimizer import Optimizer

logger = logging.getLogger(__name__)

DIRECTORY = "checkpoints"
BEST = "best"


@dataclass
class LoopState:
    """The loop's own state between steps; the data's position is the step."""

    train_seconds: float = 0.0
    best_score: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    validated_step: int = -1  # the last step whose validation is finished
    replicas: int = 0  # over which the last steps were split
    finished: str = ""  # why the run ended, empty while it goes on


class _SavedText(tf.train.experimental.PythonState):
    """Carries a JSON object inside a TensorFlow checkpoint."""

    def __init__(self, values: dict[str, Any] | None = None):
        self.values = values or {}

    def serialize(self) -> str:
        return json.dumps(self.values)

    def deserialize(self, string_value: str | bytes) -> None:
        self.values = json.loads(string_value)


class _SavedArrays(tf.train.experimental.PythonState):
    """Carries the arrays that a step hands to the next one (`parts`, empty where there are none) inside a TensorFlow
    checkpoint.
    """

    def __init__(self, parts: list[np.ndarray] | None = None) -> None:
        self.parts = parts or []

    def serialize(self) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, *self.parts)
        return buffer.getvalue()

    def deserialize(self, string_value: bytes) -> None:
        with np.load(io.BytesIO(string_value)) as arrays:
            self.parts = [arrays[f"arr_{index}"] for index in range(len(arrays.files))]


@dataclass(frozen=True)
class Writer:
    """Calls before and after each checkpoint.

    Attributes:
        check: called before; raises where another run writes the directory by now.
        publish: called after it; a checkpoint is saved when that has returned.
    """

    check: Callable[[], None]
    publish: Callable[[], None]


ALONE = Writer(lambda: None, lambda: None)  # in a directory that nobody else knows


class Checkpoints:
    """The last checkpoints of a run in `MODEL_DIR/checkpoints`, and the best in `best/` beside them.

    Training waits only while the state is copied; a thread writes the copy. Workers other than the chief, which have no
    `writer`, read and write nothing: all hold the same state (`WeightCheck`).
    """

    def __init__(
        self,
        model_dir: str,
        model: SequenceModel,
        optimizer: Optimizer,
        state: LoopState,
        keep: int,
        writer: Writer | None = ALONE,
    ):
        self.directory = Path(model_dir) / DIRECTORY
        self._model, self._optimizer, self._state, self._keep = model, optimizer, state, keep
        self._writer = writer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: list[Future[None]] = []

    @property
    def step(self) -> int:
        return int(self._optimizer.step.numpy())

    def newest(self) -> int | None:
        """The newest undamaged step, which is what to `restore`; DataError where all are damaged."""
        return files.newest_whole(self.directory)

    def restore(self, step: int) -> list[np.ndarray]:
        """Restores everything from the checkpoint of a step, and gives the carried arrays.

        Raises:
          DataError: the checkpoint does not fit the model, or is not there.
        """
        path = files.path_of(self.directory, step)
        loop, carried = _SavedText(), _SavedArrays()
        whole = tf.train.Checkpoint(
            model=_by_path(self._model), optimizer=self._optimizer.state(), loop=loop, carried=carried
        )
        try:
            with plain_path(path) as plain:
                whole.read(plain).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise DataError(
                f"{path} cannot be restored ({str(error).splitlines()[0]}); "
                "use the version that wrote it, and one --model_dir on all workers"
            ) from None
        for name, value in loop.values.items():
            setattr(self._state, name, value)
        return carried.parts

    def save(self, carried: list[np.ndarray]) -> None:
        """Copies everything, `carried` included, and has it written; `wait` tells when it is safe.

        Raises:
          StorageError: the disk refused this or an earlier one (checkpoints saved before stay as they are).
        """
        if self._writer is None:
            return
        while len(self._pending) > 1:  # the best of the same step may be on its way, no more
            self._pending.pop(0).result()
        whole = tf.train.Checkpoint(
            model=_copies(_by_path(self._model)),
            optimizer=_copies(self._optimizer.state()),
            loop=_SavedText(asdict(self._state)),
            carried=_SavedArrays([np.array(part) for part in carried]),
        )
        self._pending.append(self._thread.submit(self._write, whole, self.directory, self.step, self._keep))

    def save_best(self) -> None:
        """Copies the weights and has them written as the best ones so far."""
        if self._writer is not None:
            weights = tf.train.Checkpoint(model=_copies(_by_path(self._model)))
            self._pending.append(self._thread.submit(self._write, weights, self.directory / BEST, self.step, 1))

    def wait(self) -> None:
        """Returns when everything is written and read back; raises what went wrong."""
        pending, self._pending = self._pending, []
        for written in pending:
            written.result()

    def close(self) -> None:
        """Returns when nothing is being written any more, whether that went well or not."""
        self._thread.shutdown()

    def _write(self, checkpoint: tf.train.Checkpoint, directory: Path, step: int, keep: int) -> None:
        assert self._writer is not None
        self._writer.check()
        logger.info("saved %s", files.write(checkpoint.write, directory, step, keep))
        self._writer.publish()


def _by_path(model: SequenceModel) -> dict[str, tf.Variable]:
    """All weights by name (Keras' own random states are no part of it, nothing uses them).

    TensorFlow's own walk over a Keras 3 model passes over layers that stand in lists, without a word.
    """
    named = {variable.path: variable.value for variable in model.weights}
    if len(named) != len(model.weights):
        raise ValueError("two variables of the model have one path")
    return named


def _copies(variables: Mapping[str, tf.Variable]) -> dict[str, tf.Variable]:
    """The values of now, in the host's memory."""
    with tf.device("/cpu:0"):
        return {name: tf.Variable(np.array(variable.numpy()), trainable=False) for name, variable in variables.items()}


def restore_weights(model_dir: str, model: SequenceModel, which: str, average: int = 0) -> int:
    """Loads the `best` or `last` weights of a run into a built model and gives their step.

    With `average` above 0 they are the mean of the last so many checkpoints instead (Junczys-Dowmunt et al. 2016), and
    the step is that of the last one.

    Raises:
      DataError: there are none, or fewer than `average`, or they are damaged or do not fit.
    """
    directory = Path(model_dir) / DIRECTORY
    if average:
        return _load_mean(directory, model, average)
    if which == BEST and files.steps_of(directory / BEST):
        directory /= BEST
    try:
        step = files.newest_whole(directory)
    except DataError as error:
        if directory.name != BEST:
            raise
        raise DataError(f"{str(error).partition(';')[0]}; take another with --checkpoint=last") from None
    if step is None:
        raise DataError(f"{model_dir} has no checkpoint; train it with python -m trainer.train --model_dir={model_dir}")
    _load(files.path_of(directory, step), model)
    return step


def _load_mean(directory: Path, model: SequenceModel, count: int) -> int:
    """Loads the mean of the last `count` checkpoints, all of which must be whole, and gives the step of the last
    one.
    """
    steps = files.steps_of(directory)[-count:]
    if len(steps) < count:
        remedy = f"average fewer, or train with --keep_checkpoints={count}"
        raise DataError(f"{directory} holds {len(steps)} checkpoints, not {count}; {remedy}")
    sums = [np.zeros(variable.shape, np.float64) for variable in model.weights]
    for step in steps:
        path = files.path_of(directory, step)
        if wrong := files.damage(path):
            raise DataError(
                f"{path} is damaged ({wrong}); average fewer checkpoints, or take one with --checkpoint=last"
            )
        _load(path, model)
        for total, variable in zip(sums, model.weights):
            total += variable.numpy()
    for total, variable in zip(sums, model.weights):
        variable.assign(total / count)
    return steps[-1]


def _load(path: Path, model: SequenceModel) -> None:
    """Loads the weights of one checkpoint; DataError where they do not fit."""
    try:
        with plain_path(path) as plain:
            tf.train.Checkpoint(model=_by_path(model)).read(plain).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise DataError(
            f"{path} does not fit the model ({str(error).splitlines()[0]}); evaluate with the version that wrote it"
        ) from None

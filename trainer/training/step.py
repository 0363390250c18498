"""Steps on the devices: many of them a call, so that the host is visited rarely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.nn.model import SequenceModel
from trainer.nn.step_context import ContextTensors, StepContext
from trainer.tasks.task import Batch, CarriedState, Task
from trainer.training.optimizer import Optimizer, learning_rate

STOP_REQUESTED = "asked to stop"  # travels with the sums of a validation batch


@dataclass(frozen=True)
class Progress:
    """How far a run is, as a line through the steps: `share = (step - anchor) * slope + at_anchor`."""

    anchor: int
    at_anchor: float
    slope: float

    def tensors(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As tensors, made from numpy's numbers: TensorFlow keeps a copy of every Python number that it ever made a
        tensor of.
        """
        return (
            tf.constant(np.int64(self.anchor)),
            tf.constant(np.float32(self.at_anchor)),
            tf.constant(np.float32(self.slope)),
        )


class Stepper:
    """Compiled training and validation steps of one task under one strategy.

    Loss and gradients are sums over the replicas divided by the summed weight, so padding, missing targets and uneven
    parts give what one device would give. The reduction comes first, then the clipping, then the update.
    """

    def __init__(self, task: Task, model: SequenceModel, optimizer: Optimizer, strategy: tf.distribute.Strategy):
        self.task, self.model, self.optimizer, self.strategy = task, model, optimizer, strategy
        self._variables = [variable.value for variable in model.trainable_variables]
        self.traces = 0
        gradients = self._loss_and_gradients
        self._gradients = tf.function(gradients, jit_compile=True) if task.config.device.jit_compile else gradients
        self._accumulate = task.config.budget.accumulate_steps
        self._parts = strategy.num_replicas_in_sync * self._accumulate  # of the global batch

    @property
    def reduced_bytes(self) -> int:
        """Bytes that a step sums over the replicas, in one piece: all gradients, the loss and its weight."""
        return 4 * (2 + sum(math.prod(variable.shape) for variable in self._variables))

    def _part(self, batch: Batch, part: tf.Tensor, count: int) -> Batch:
        """Part `part` of `count` of the global batch, cut on the host so that only it travels to the device."""
        if count == 1:
            return batch
        with tf.device("/cpu:0"):
            return {name: _rows(value, part, count) for name, value in batch.items()}

    def initial_state(self, batch_size: int) -> CarriedState:
        """The task's state at the start of a sequence: each replica's rows on that replica."""
        return self.distribute(
            [tensor.numpy() for tensor in tf.nest.flatten(self.task.objective.initial_state(batch_size))]
        )

    def distribute(self, parts: list[np.ndarray]) -> CarriedState:
        """Gives every replica its rows of a global state, which is flat."""
        count = self.strategy.num_replicas_in_sync

        def rows(part: np.ndarray) -> Any:
            size = len(part) // count
            values = self.strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(part[context.replica_id_in_sync_group * size :][:size])
            )
            local = self.strategy.experimental_local_results(values)
            return (
                local[0] if len(local) == 1 else values
            )  # as `strategy.run` gives it, which a loop's variable must keep to

        return tf.nest.pack_sequence_as(self.task.objective.initial_state(1), [rows(part) for part in parts])

    def collect(self, state: CarriedState) -> list[np.ndarray]:
        """The global state, flat: what `distribute` takes."""
        parts = tf.nest.flatten(state)
        return [part.numpy() for part in self._gathered(parts)] if parts else []

    @tf.function
    def _gathered(self, parts: list[Any]) -> list[tf.Tensor]:
        """All replicas' rows of each part. `strategy.gather` does the same, but traces anew at every call."""

        def everybody(parts: list[tf.Tensor]) -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            # the gather goes to the device of what it gathers, which an argument does not have
            return [context.all_gather(tf.identity(part), axis=0) for part in parts]

        return [
            self.strategy.experimental_local_results(part)[0] for part in self.strategy.run(everybody, args=(parts,))
        ]

    def _loss_and_gradients(self, part: Batch, context: ContextTensors, scale: tf.Tensor, state: CarriedState) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            loss, weight, state = self.task.objective.loss(self.model, part, StepContext(*context, self._parts), state)
            scaled = loss * (scale / self.task.objective.nominal_weight)
        gradients = tape.gradient(scaled, self._variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Sparse gradients have one row for each use of a token; dense ones have the sum, which optimizers need.
        dense = [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]
        return (
            loss,
            weight,
            state,
            [tf.ensure_shape(gradient, variable.shape) for gradient, variable in zip(dense, self._variables)],
        )

    def _sums(
        self, batch: Batch, step: tf.Tensor, progress: tf.Tensor, part: tf.Tensor, scale: tf.Tensor, state: CarriedState
    ) -> tuple[list[tf.Tensor], CarriedState]:
        """Loss, weight and gradients of one part of the batch, and its state after the step."""
        context = StepContext.of(self.task.config.seed, step, part, self._parts, progress)
        loss, weight, state, gradients = self._gradients(
            self._part(batch, part, self._parts), context.tensors, scale, state
        )
        return [loss, weight, *gradients], state

    def _accumulated(
        self,
        batch: Batch,
        step: tf.Tensor,
        progress: tf.Tensor,
        replica: tf.Tensor,
        scale: tf.Tensor,
        state: CarriedState,
    ) -> tuple[list[tf.Tensor], CarriedState]:
        """The same of all parts of this replica, one after the other; each sees the rows and the noise that a replica
        of its own would.
        """
        flat, count = tf.nest.flatten(state), self._accumulate
        totals = [tf.zeros([]), tf.zeros([]), *(tf.zeros(variable.shape) for variable in self._variables)]
        after = [
            tf.TensorArray(rows.dtype, size=count, element_shape=[rows.shape[0] // count, *rows.shape[1:]])
            for rows in flat
        ]

        def add(index: tf.Tensor, totals: list[tf.Tensor], after: list[tf.TensorArray]) -> tuple[Any, Any, Any]:
            before = tf.nest.pack_sequence_as(state, [_rows(rows, index, count) for rows in flat])
            sums, rest = self._sums(batch, step, progress, replica * count + index, scale, before)
            after = [array.write(index, rows) for array, rows in zip(after, tf.nest.flatten(rest))]
            return index + 1, [total + part for total, part in zip(totals, sums)], after

        _, totals, after = tf.while_loop(
            lambda index, *_: index < count, add, (0, totals, after), parallel_iterations=1
        )
        rows = [tf.ensure_shape(array.concat(), part.shape) for array, part in zip(after, flat)]
        return totals, tf.nest.pack_sequence_as(state, rows)

    def _summed(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """The sums over all replicas, of float32 tensors, by one all-reduce of them all: many small ones wait for each
        other.
        """
        if self.strategy.num_replicas_in_sync == 1:
            return tensors
        packed = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)
        packed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, packed)
        pieces = tf.split(packed, [math.prod(tensor.shape) for tensor in tensors])
        return [tf.reshape(piece, tensor.shape) for piece, tensor in zip(pieces, tensors)]

    def _replica_step(
        self, batch: Batch, step: tf.Tensor, progress: tf.Tensor, state: CarriedState
    ) -> tuple[tf.Tensor, CarriedState]:
        replica = tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)
        examples, timesteps = self.task.data.read_by(batch)
        scale = tf.convert_to_tensor(self.optimizer.loss_scale)
        sums = self._sums if self._accumulate == 1 else self._accumulated
        parts, state = sums(batch, step, progress, replica, scale, state)
        loss, weight, *gradients = self._summed(parts)
        weight = tf.maximum(weight, 1e-12)
        factor = self.task.objective.nominal_weight / (weight * scale)
        rate = learning_rate(self.task.config.optimization, step, progress)
        norm = self.optimizer.apply(gradients, rate, factor)
        return tf.stack([loss / weight, norm, rate, examples, timesteps]), state

    @tf.function
    def inner_loop(
        self,
        batches: Iterator[Any],
        steps: tf.Tensor,
        state: CarriedState,
        anchor: tf.Tensor,
        at_anchor: tf.Tensor,
        slope: tf.Tensor,
    ) -> tuple[tf.Tensor, CarriedState]:
        """Takes `steps` training steps.

        Returns:
          Loss, gradient norm, learning rate, examples and time steps of each step, [steps, 5] float32, and the task's
          state after the last one.
        """
        self.traces += 1
        rows = tf.TensorArray(tf.float32, size=steps, element_shape=[5])
        for index in tf.range(steps):
            step = tf.convert_to_tensor(self.optimizer.step)
            progress = tf.cast(step - anchor, tf.float32) * slope + at_anchor
            row, state = self.strategy.run(self._replica_step, args=(next(batches), step, progress, state))
            rows = rows.write(index, self.strategy.experimental_local_results(row)[0])
        return rows.stack(), state

    def _replica_validation(
        self, batch: Batch, stop: tf.Tensor, state: CarriedState
    ) -> tuple[dict[str, tf.Tensor], CarriedState]:
        context = tf.distribute.get_replica_context()
        part = self._part(
            batch, tf.convert_to_tensor(context.replica_id_in_sync_group), self.strategy.num_replicas_in_sync
        )
        sums, state = self.task.objective.validation_sums(self.model, part, state)
        pairs = {name: tf.stack(pair) for name, pair in sums.items()}
        return context.all_reduce(tf.distribute.ReduceOp.SUM, {**pairs, STOP_REQUESTED: tf.identity(stop)}), state

    @tf.function(reduce_retracing=True)
    def _validation_step(
        self, batch: Batch, stop: tf.Tensor, state: CarriedState
    ) -> tuple[dict[str, tf.Tensor], CarriedState]:
        reduced, state = self.strategy.run(self._replica_validation, args=(batch, stop, state))
        return {name: self.strategy.experimental_local_results(pair)[0] for name, pair in reduced.items()}, state

    def validate(
        self, batches: tf.data.Dataset, batch_size: int, stop_requested: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Scores every example of `batches`: each of the task's sums divided by its weight, added up in float64.

        `stop_requested` is looked at before every batch; as soon as it is true on any worker all give up, after the
        same batch, and give None.
        """
        totals: dict[str, np.ndarray] = {}
        state = self.initial_state(batch_size)
        for batch in batches:
            sums, state = self._validation_step(batch, tf.constant(np.float32(stop_requested())), state)
            if sums.pop(STOP_REQUESTED).numpy() > 0:
                return None
            for name, pair in sums.items():
                totals[name] = totals.get(name, np.zeros(2)) + pair.numpy().astype(np.float64)
        return {name: float(total / weight) for name, (total, weight) in totals.items()}


def _rows(value: tf.Tensor, replica: tf.Tensor, count: int) -> tf.Tensor:
    rows = value.shape[0]
    size = tf.shape(value)[0] // count if rows is None else rows // count
    part = value[replica * size : (replica + 1) * size]
    part.set_shape([None if rows is None else size, *value.shape[1:]])
    return part

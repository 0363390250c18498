"""The training loop on the host: inner loops of many steps on the devices, with validation, saving and stopping between
them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.errors import DivergedError
from trainer.tasks.task import CarriedState, Task
from trainer.training import process_age
from trainer.training.checkpoint import Checkpoints, LoopState
from trainer.training.preemption import Preemption
from trainer.training.reporting import Report
from trainer.training.step import Progress, Stepper
from trainer.training.supervisor import Heartbeat
from trainer.training.weight_check import WeightCheck
from trainer.training.workers import Workers

logger = logging.getLogger(__name__)

SECONDS_PER_INNER_LOOP = 1.0
STEPS_OF_FIRST_INNER_LOOP = 1  # it is mostly tracing, and tells when the first step was done
LONGEST_INNER_LOOP = 1000


@dataclass(frozen=True)
class RunLength:
    """When a run ends, validates and saves. `total_steps` is None under `--train_seconds`."""

    total_steps: int | None
    total_examples: int | None
    train_seconds: float | None
    evaluate_every: int
    save_every: int

    @classmethod
    def of(cls, config: TrainConfig, examples_per_epoch: int, steps_for: Callable[[int], int]) -> RunLength:
        """Plans a run; `steps_for` gives the steps that a number of examples takes."""
        budget = config.budget
        total_examples, total_steps = None, budget.train_steps
        if budget.epochs is not None:
            total_examples = max(1, round(budget.epochs * examples_per_epoch))
            total_steps = steps_for(total_examples)
        evaluate_every = budget.evaluate_every_steps or max(1, steps_for(examples_per_epoch))
        return cls(
            total_steps, total_examples, budget.train_seconds, evaluate_every, budget.save_every_steps or evaluate_every
        )

    def next_stop(self, step: int, extra: tuple[int, ...] = ()) -> int:
        """The first step after `step` at which the host has something to do."""
        stops = [step + every - step % every for every in (self.evaluate_every, self.save_every)]
        stops += [stop for stop in extra if stop > step]
        if self.total_steps is not None:
            stops.append(self.total_steps)
        return min(stops)

    def progress(self, step: int, seconds: float, seconds_per_step: float) -> Progress:
        if self.train_seconds is not None:
            return Progress(step, seconds / self.train_seconds, seconds_per_step / self.train_seconds)
        assert self.total_steps is not None
        return Progress(0, 0.0, 1.0 / self.total_steps)

    def is_over(self, step: int, seconds: float) -> bool:
        if self.train_seconds is not None:
            return seconds >= self.train_seconds
        return self.total_steps is not None and step >= self.total_steps


class Loop:
    """Runs a `Stepper` by a `RunLength`: `for step in loop.run(): ...` trains on until the run is over.

    All workers run it in step: whatever decides (the clock, a wish to stop) is the chief's or everybody's, told in
    `Workers.exchange`.
    """

    def __init__(
        self,
        task: Task,
        stepper: Stepper,
        plan: RunLength,
        checkpoints: Checkpoints,
        state: LoopState,
        report: Report,
        workers: Workers,
        preemption: Preemption,
        heartbeat: Heartbeat,
    ):
        self.task, self.stepper, self.plan = task, stepper, plan
        self.checkpoints, self.state, self.report = checkpoints, state, report
        self.workers, self.preemption, self.heartbeat = workers, preemption, heartbeat
        self.last_loss = math.nan
        self.startup_seconds: float | None = None  # from the start of the process to the end of its first step
        self.read = np.zeros(2)  # examples and time steps since this process began to train
        self._step_seconds = 0.0
        self._carried: CarriedState = ()
        self._weight_check = WeightCheck(stepper.strategy, stepper.optimizer.floats)
        self._stopping = False  # as agreed by all workers
        self._profile = task.config.debug.profile_range()
        self._validation: tf.data.Dataset | None = None

    def run(self, carried: list[np.ndarray]) -> Iterator[int]:
        """Yields the step after every inner loop.

        Args:
          carried: what the steps before handed on, as the checkpoint has it; empty at the beginning.

        Raises:
          RestartError, InterruptError: the run was asked to stop; everything is saved.
          DivergedError: the loss is not a number any more; nothing was saved since.
        """
        step = self.checkpoints.step
        self._carried = self._distributed(carried)
        self._batches = iter(self.task.data.training_batches(step, self.plan.total_examples))
        if self._validation_due(step):  # stopped while it went on
            self._validate(step)
            if self._ended(step):
                self._save(step)
        while not self._ended(step):
            if not self._stopping:
                step = self._inner_loop(self._batches, step)
            if self._validation_due(step) and not self._stopping:
                self._validate(step)
            if step % self.plan.save_every == 0 or self._stopping or self._ended(step):
                self._save(step)
            yield step
            if self._stopping and not self._ended(step):
                self._finish_saving()
                raise self.preemption.stop(step)
        self._finish_saving()

    def _ended(self, step: int) -> bool:
        if self.state.finished:
            return True
        return self.plan.is_over(step, self.state.train_seconds) and not self._validation_due(step)

    def _validation_due(self, step: int) -> bool:
        due = step % self.plan.evaluate_every == 0 or self.plan.is_over(step, self.state.train_seconds)
        first = 0 if self.task.objective.starts_fitted else 1
        return due and step >= first and self.state.validated_step != step and "validation" in self.task.data.splits

    def _distributed(self, parts: list[np.ndarray]) -> CarriedState:
        return (
            self.stepper.distribute(parts) if parts else self.stepper.initial_state(self.task.config.budget.batch_size)
        )

    def _save(self, step: int) -> None:
        self._weight_check.run(step)
        self.state.replicas = self.stepper.strategy.num_replicas_in_sync
        self.checkpoints.save(self.stepper.collect(self._carried))
        self.heartbeat.beat()

    def _finish_saving(self) -> None:
        """Returns when the last checkpoint is safe, for all workers: one that left earlier would look like a lost
        peer.
        """
        self.checkpoints.wait()
        self.workers.exchange(0.0)

    def _inner_loop_steps(self, step: int) -> int:
        length = STEPS_OF_FIRST_INNER_LOOP
        if self._step_seconds:
            seconds = SECONDS_PER_INNER_LOOP
            if self.plan.train_seconds is not None:
                seconds = min(seconds, self.plan.train_seconds - self.state.train_seconds)
            length = int(np.clip(round(seconds / self._step_seconds), 1, LONGEST_INNER_LOOP))
        profile = (self._profile[0] - 1, self._profile[1]) if self._profile else ()
        return min(step + length, self.plan.next_stop(step, profile)) - step

    def _inner_loop(self, batches: Iterator[object], step: int) -> int:
        length = self._inner_loop_steps(step)
        if self._profile and step == self._profile[0] - 1 and self.workers.is_chief:
            tf.profiler.experimental.start(self.task.config.model_dir)
        progress = self.plan.progress(step, self.state.train_seconds, self._step_seconds)
        started = time.perf_counter()
        table, self._carried = self.stepper.inner_loop(
            batches, tf.constant(np.int32(length)), self._carried, *progress.tensors()
        )
        losses, norms, rates, *read = table.numpy().T
        if self.startup_seconds is None:
            self._tell_startup()
        answers = self.workers.exchange(time.perf_counter() - started, float(self.preemption.requested))
        seconds, self._stopping = float(answers[0, 0]), bool(answers[:, 1].any())
        self.heartbeat.beat()
        if self._profile and step + length == self._profile[1] and self.workers.is_chief:
            tf.profiler.experimental.stop()
            logger.info("profile of steps %d to %d written to %s", *self._profile, self.task.config.model_dir)
        if self._step_seconds or self.stepper.traces == 0:
            self._step_seconds = seconds / length
        else:
            self._step_seconds = min(
                seconds / length, SECONDS_PER_INNER_LOOP / 8
            )  # the first inner loop's time is mostly tracing
        self.state.train_seconds += seconds
        self.read += np.sum(read, axis=1, dtype=np.float64)
        self._check_losses(step, losses, rates)
        self.report.steps(step + 1, losses, norms, rates, seconds)
        self.last_loss = float(np.mean(losses))
        return step + length

    def _tell_startup(self) -> None:
        self.startup_seconds = process_age.seconds()
        if self.workers.is_chief:
            logger.info("first step done %.1f s after the start of the process", self.startup_seconds)

    def _check_losses(self, step: int, losses: np.ndarray, rates: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            first, clipped = int(bad[0]), self.task.config.optimization.clip_norm
            clipping = f"lower --clip_norm={clipped:g}" if clipped else "set --clip_norm"
            raise DivergedError(
                f"the loss of step {step + first + 1} is {losses[first]} at learning rate {rates[first]:.3g}; "
                f"to go on from the last checkpoint lower --learning_rate, {clipping} or raise --warmup_steps; "
                "--check_numerics finds the op"
            )

    def _validate(self, step: int) -> None:
        scores = self.validate()
        if scores is None:
            self._stopping = True
            return
        state = self.state
        state.validated_step = step
        self.report.validation(step, scores)
        score = float(self.workers.exchange(scores[self.task.objective.score_name])[0, 0])
        if not math.isfinite(score):
            raise DivergedError(
                f"the validation {self.task.objective.score_name} of step {step} is {score}; lower --learning_rate"
            )
        if state.best_score is None or (
            score > state.best_score if self.task.objective.higher_is_better else score < state.best_score
        ):
            state.best_score, state.best_step, state.evaluations_without_gain = score, step, 0
            self.checkpoints.save_best()
            return
        state.evaluations_without_gain += 1
        patience = self.task.config.budget.early_stop_patience
        if patience and state.evaluations_without_gain >= patience and not self.plan.is_over(step, state.train_seconds):
            state.finished = f"no better {self.task.objective.score_name} in {patience} validations"
            logger.info("stopped at step %d: %s", step, state.finished)

    def validate(self) -> dict[str, float] | None:
        """Scores the validation split; None where any worker was asked to stop meanwhile."""

        def requested() -> bool:
            self.heartbeat.beat()
            return self.preemption.requested

        replicas = self.stepper.strategy.num_replicas_in_sync
        size = -(-self.task.data.evaluation_batch_size // replicas) * replicas
        if self._validation is None:  # made once: each dataset traces its functions anew
            self._validation = self.task.data.evaluation_batches("validation", size)
        means = self.stepper.validate(self._validation, size, requested)
        return None if means is None else self.task.objective.validation_scores(self.stepper.model, means)

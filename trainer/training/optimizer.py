"""Optimizers for reduced gradients: clip by the global norm, scale, apply.

Keras' optimizers clip before the reduction over replicas and take duplicate rows of sparse gradients one by one
(docs/decisions/training_loop.md); here gradients arrive dense and summed over all replicas, and are applied by
TensorFlow's fused kernels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import tensorflow as tf

from trainer.config.train import OptimizerFlags
from trainer.training.orthogonal import muon_direction

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
LARGEST_LOSS_SCALE = 2.0**15
STEPS_BEFORE_LARGER_SCALE = 2000


def learning_rate(config: OptimizerFlags, step: tf.Tensor, progress: tf.Tensor) -> tf.Tensor:
    """The learning rate of a step.

    Args:
      config: peak, schedule and warm-up.
      step: steps taken before this one, an integer scalar.
      progress: share of the run that is done, float32 in [0, 1]; by steps, or by the clock under `--train_seconds`.
    """
    left = 1.0 - tf.clip_by_value(progress, 0.0, 1.0)
    if config.schedule == "cosine":
        factor = 0.5 - 0.5 * tf.cos(math.pi * left)
    elif config.schedule == "linear":
        factor = left
    else:
        factor = tf.ones([])
    if config.warmup_steps:
        factor *= tf.minimum(1.0, (tf.cast(step, tf.float32) + 1.0) / config.warmup_steps)
    return config.learning_rate * factor


class Optimizer(tf.Module):
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), Muon (Jordan et al. 2024) or SGD, with dynamic
    loss scaling.

    Create it under the strategy's scope. `loss_scale` is the factor to multiply the loss with (1 without scaling).
    """

    def __init__(
        self, config: OptimizerFlags, variables: Sequence[tf.Variable], gates: Sequence[int], scale_loss: bool
    ):
        """Takes the variables and, for each, how many gates' matrices it holds side by side: 0 where it belongs to no
        recurrent layer.
        """
        super().__init__(name="optimizer")
        self.config = config
        self.weights = list(variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._blocks = [count if config.optimizer == "muon" else 0 for count in gates]
        self.slots = [
            [
                tf.Variable(tf.zeros_like(variable), trainable=False, name=f"slot_{slot}")
                for slot in range(self._slot_count(blocks))
            ]
            for variable, blocks in zip(self.weights, self._blocks, strict=True)
        ]
        self._scales_loss = scale_loss
        self.loss_scale = tf.Variable(LARGEST_LOSS_SCALE if scale_loss else 1.0, trainable=False, name="loss_scale")
        self.good_steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="good_steps")

    def _slot_count(self, blocks: int) -> int:
        if self.config.optimizer == "sgd":
            return 1 if self.config.momentum else 0
        return 1 if blocks else 2

    @property
    def floats(self) -> list[tf.Variable]:
        """The weights and all that is kept for each of them, float32."""
        return [*self.weights, *(variable for row in self.slots for variable in row)]

    def state(self) -> dict[str, tf.Variable]:
        """Everything that a step changes beside the weights, by name."""
        slots = {
            f"slot_{slot}/{index}": variable
            for index, row in enumerate(self.slots)
            for slot, variable in enumerate(row)
        }
        return {"step": self.step, "loss_scale": self.loss_scale, "good_steps": self.good_steps, **slots}

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor, factor: tf.Tensor | float = 1.0) -> tf.Tensor:
        """Takes one step; call it in a replica, with gradients that are the same in all replicas.

        Args:
          gradients: one a variable, summed over replicas.
          rate: learning rate, float32 scalar.
          factor: float32 scalar to multiply the gradients with, which takes the loss scale out of them.

        Returns:
          The global norm of the gradients before clipping. A step with loss scaling and an infinite norm changes no
          weight.
        """
        norm = tf.linalg.global_norm(list(gradients)) * factor
        finite = tf.math.is_finite(norm)
        if self.config.clip_norm:
            factor *= self.config.clip_norm / tf.maximum(norm, self.config.clip_norm)
        context = tf.distribute.get_replica_context()
        context.merge_call(self._apply, args=([gradient * factor for gradient in gradients], rate, finite))
        return norm

    def _apply(
        self, strategy: tf.distribute.Strategy, gradients: Sequence[tf.Tensor], rate: tf.Tensor, finite: tf.Tensor
    ) -> None:
        update = strategy.extended.update
        for variable, gradient, blocks, slots in zip(self.weights, gradients, self._blocks, self.slots, strict=True):
            rule = functools.partial(self._update, blocks)
            update(variable, rule, args=(gradient, rate, finite, update_value(self.step), *slots), group=False)
        if self._scales_loss:
            update(self.loss_scale, _rescale, args=(self.good_steps, finite), group=False)
            update(self.good_steps, _count_good, args=(finite,), group=False)
        update(self.step, lambda step: step.assign_add(1), group=False)

    def _update(
        self,
        blocks: int,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        finite: tf.Tensor,
        step: tf.Tensor,
        *slots: tf.Variable,
    ) -> None:
        if not self._scales_loss:
            self._rule(blocks, variable, gradient, rate, step, slots)
            return

        def take() -> tf.Tensor:
            self._rule(blocks, variable, gradient, rate, step, slots)
            return tf.constant(True)

        tf.cond(finite, take, lambda: tf.constant(False))

    def _rule(
        self,
        blocks: int,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        step: tf.Tensor,
        slots: Sequence[tf.Variable],
    ) -> None:
        config = self.config
        if config.weight_decay and len(variable.shape) > 1:
            variable.assign_sub(variable * (rate * config.weight_decay))
        if config.optimizer == "sgd":
            if slots:
                gradient = slots[0].assign(slots[0] * config.momentum + gradient)
            variable.assign_sub(rate * gradient)
            return
        if blocks:
            variable.assign_sub(rate * muon_direction(gradient, slots[0], blocks))
            return
        count = tf.cast(step + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=slots[0].handle,
            v=slots[1].handle,
            beta1_power=tf.pow(BETA_1, count),
            beta2_power=tf.pow(BETA_2, count),
            lr=rate,
            beta1=BETA_1,
            beta2=BETA_2,
            epsilon=EPSILON,
            grad=gradient,
        )


def update_value(variable: tf.Variable) -> tf.Tensor:
    return tf.convert_to_tensor(variable)


def _rescale(scale: tf.Variable, good_steps: tf.Variable, finite: tf.Tensor) -> None:
    """Halves the scale after an infinite gradient, doubles it after many finite ones (Micikevicius et al. 2018)."""
    grown = tf.minimum(scale * 2.0, LARGEST_LOSS_SCALE)
    due = good_steps + 1 >= STEPS_BEFORE_LARGER_SCALE
    scale.assign(tf.where(finite, tf.where(due, grown, scale), tf.maximum(scale / 2.0, 1.0)))


def _count_good(good_steps: tf.Variable, finite: tf.Tensor) -> None:
    due = good_steps + 1 >= STEPS_BEFORE_LARGER_SCALE
    good_steps.assign(tf.where(tf.logical_and(finite, tf.logical_not(due)), good_steps + 1, 0))

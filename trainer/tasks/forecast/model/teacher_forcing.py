"""The inputs of an autoregressive decoder before each segment: draws of its own forecast, or the true values."""

from __future__ import annotations

import tensorflow as tf

from trainer.nn.step_context import StepContext
from trainer.tasks.forecast.data.windows import Batch
from trainer.tasks.forecast.model.autoregressive_decoder import Sampler
from trainer.tasks.forecast.model.distributions import Distribution


def sampler(
    distribution: Distribution, zero: tf.Tensor, unit: tf.Tensor, series: tf.Tensor, scores: tf.Tensor
) -> Sampler:
    """Values at the normal `scores [B, H, C]` in the distribution that each segment's numbers tell.

    `zero` and `unit`, `[B, 1, C]`, are each window's last value, which the rollout's numbers and values are relative
    to, and the unit of its widths; `series` is `[B, C]`. No gradient passes a draw: some are no differentiable function
    of the numbers (counts).
    """

    def sampled(numbers: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        segment = numbers.shape[1]
        units = tf.broadcast_to(unit, tf.shape(numbers)[:-1])[..., None]
        absolute = tf.concat(
            [numbers[..., :1] + zero[..., None], numbers[..., 1:], units], axis=-1
        )  # [B, segment, C, P + 1]
        now = tf.slice(scores, [0, t * segment, 0], [tf.shape(scores)[0], segment, scores.shape[2]])
        drawn = distribution.at_scores(absolute, series, now)
        return tf.stop_gradient(drawn - zero)

    return sampled


def true_values(
    batch: Batch, zero: tf.Tensor, segment: int, share: tf.Tensor, context: StepContext | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The teacher targets of `AutoregressiveDecoder`: the targets relative to `zero [B, 1, C]`, and where they are
    read, of those observed.

    A coin for each window and segment, the same wherever the window is computed, falls on the truth with probability
    `share`; without noise all are read.
    """
    observed = batch["target_weight"] > 0
    truth = tf.where(observed, batch["target"] - zero, 0.0)
    if context is not None:
        rows, horizon = tf.shape(truth)[0], truth.shape[1]
        coins = context.uniform_of_rows(rows, [horizon // segment], "truth") < share
        observed = tf.logical_and(observed, tf.repeat(coins, segment, axis=1)[..., None])
    return truth, observed

"""Noise as a function of (seed, step, replica): the same in every run and on every device. XLA draws other numbers than
TensorFlow's ops.

Dropout is different on every replica. `normal_of_rows` and `uniform_of_rows` are for what must not depend on how
replicas share a batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import tensorflow as tf

ALGORITHM = "philox"  # the same numbers on CPU and GPU
ContextTensors = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True, eq=False)
class StepContext:
    """Keys for stateless random ops; `None` in its place stands for no noise (inference).

    Attributes:
      key: [2] int32, of this step and this replica (or part of its rows).
      step_key: [2] int32, of this step.
      part: which part of the global batch this is, from 0, int32.
      progress: share of the run that is done, float32 in [0, 1].
      parts: how many parts there are.
    """

    key: tf.Tensor
    step_key: tf.Tensor
    part: tf.Tensor
    progress: tf.Tensor
    parts: int

    @classmethod
    def of(
        cls, seed: int, step: tf.Tensor, part: tf.Tensor, parts: int = 1, progress: tf.Tensor | float = 0.0
    ) -> StepContext:
        step_key = tf.random.fold_in(tf.constant([seed % 2**31, 0x5EED], tf.int32), tf.cast(step, tf.int32), ALGORITHM)
        part = tf.cast(part, tf.int32)
        key = tf.random.fold_in(step_key, part, ALGORITHM)
        return cls(key, step_key, part, tf.clip_by_value(tf.convert_to_tensor(progress, tf.float32), 0.0, 1.0), parts)

    @property
    def tensors(self) -> ContextTensors:
        """All but `parts`, in the order of the attributes."""
        return self.key, self.step_key, self.part, self.progress

    def inside(self, name: str) -> StepContext:
        """Keys of its own for a network among several, in which names are used again."""
        return replace(self, key=_named(self.key, name), step_key=_named(self.step_key, name))

    def named(self, name: str) -> tf.Tensor:
        """A key of its own for one place in the model."""
        return _named(self.key, name)

    def uniform_of_rows(self, rows: tf.Tensor, shape: list[int], name: str) -> tf.Tensor:
        """Uniform numbers `[rows, *shape]` in [0, 1) for the rows of this part: a row's are the same in whatever part
        it is.
        """
        return self._of_this_replica(tf.random.stateless_uniform, rows, shape, name)

    def normal_of_rows(self, rows: tf.Tensor, shape: list[int], name: str) -> tf.Tensor:
        """The same, standard normal."""
        return self._of_this_replica(tf.random.stateless_normal, rows, shape, name)

    def _of_this_replica(
        self, draw: Callable[..., tf.Tensor], rows: tf.Tensor, shape: list[int], name: str
    ) -> tf.Tensor:
        """This part's rows of the draws for the whole global batch, as a slice of known size, which XLA asks for."""
        every = draw([rows * self.parts, *shape], _named(self.step_key, name), alg=ALGORITHM)
        return tf.slice(every, [self.part * rows, *[0] * len(shape)], [rows, *shape])


def _named(key: tf.Tensor, name: str) -> tf.Tensor:
    return tf.random.fold_in(key, tf.constant(zlib.crc32(name.encode()) % 2**31, tf.int32), ALGORITHM)


def dropout(
    x: tf.Tensor, rate: float, context: StepContext | None, name: str, same_over_time: bool = False
) -> tf.Tensor:
    """Sets a share `rate` of `x` to 0 and scales the rest up (Srivastava et al. 2014); without context gives `x` back.

    `same_over_time` drops the same units of a row at all time steps of `x: [B, T, D]` (Gal and Ghahramani 2016).
    """
    if context is None or rate == 0.0:
        return x
    if same_over_time:
        return x * dropout(tf.ones([tf.shape(x)[0], 1, x.shape[2]], x.dtype), rate, context, name)
    return tf.nn.experimental.stateless_dropout(x, rate, context.named(name), rng_alg=ALGORITHM)

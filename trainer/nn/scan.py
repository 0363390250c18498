"""Loops over time that collect what each step gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf


class Steps(Protocol):
    """Values that a loop reads and writes by the number of the step: a tf.TensorArray, or `OneStep`."""

    def read(self, t: tf.Tensor) -> tf.Tensor: ...

    def write(self, t: tf.Tensor, value: tf.Tensor) -> Steps: ...

    def stack(self) -> tf.Tensor: ...


class OneStep:
    """A series of a single step as a plain tensor: runtimes of exported graphs know lists inside loops only, and this
    needs none.
    """

    def __init__(self, value: tf.Tensor | None = None):
        self._value = value

    def read(self, t: tf.Tensor) -> tf.Tensor:
        return self._value

    def write(self, t: tf.Tensor, value: tf.Tensor) -> OneStep:
        return OneStep(value)

    def stack(self) -> tf.Tensor:
        return tf.expand_dims(self._value, 0)


Step = Callable[[tf.Tensor, tuple[tf.Tensor, ...], list[Steps]], tuple[tuple[tf.Tensor, ...], list[Steps]]]


def accumulator(dtype: tf.DType) -> tf.DType:
    """The type that states and element-wise work are in: float32 for the half-precision types."""
    return dtype if dtype in (tf.float32, tf.float64) else tf.float32


def length_of(x: tf.Tensor) -> int | tf.Tensor:
    """Number of steps of `x: [T, ...]`, a Python number where it is known."""
    return x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]


def elements(x: tf.Tensor) -> Steps:
    """The steps of `x: [T, B, N]`, without copying them."""
    if x.shape[0] == 1:
        return OneStep(tf.squeeze(x, 0))
    array = tf.TensorArray(x.dtype, size=length_of(x), element_shape=x.shape[1:], clear_after_read=False)
    return array.unstack(x)


def scan(
    steps: int | tf.Tensor,
    step: Step,
    state: tuple[tf.Tensor, ...],
    kinds: Sequence[tuple[tf.DType, int]],
    batch: int | None,
) -> tuple[tuple[tf.Tensor, ...], list[Steps]]:
    """Runs `step(t, state, arrays) -> (state, arrays)` for t = 0 .. steps - 1.

    Args:
      kinds: type and width N of each array; its elements are [B, N].

    Returns:
      The last state and the arrays of `steps` elements.
    """
    if isinstance(steps, int) and steps == 1:
        return step(tf.constant(0), state, [OneStep() for _ in kinds])
    arrays = [
        tf.TensorArray(dtype, size=steps, element_shape=[batch, width], clear_after_read=False)
        for dtype, width in kinds
    ]

    def body(t: tf.Tensor, state: tuple[tf.Tensor, ...], arrays: list[Steps]) -> tuple[Any, ...]:
        state, arrays = step(t, state, arrays)
        return t + 1, state, arrays

    loop = (tf.constant(0), state, arrays)
    _, state, arrays = tf.while_loop(
        lambda t, *_: t < steps, body, loop, parallel_iterations=1, maximum_iterations=steps
    )
    return state, arrays

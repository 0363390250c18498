"""Loops over time that collect what each step gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

Step = Callable[[tf.Tensor, tuple[tf.Tensor, ...], list[tf.TensorArray]], tuple[tuple[tf.Tensor, ...], list[tf.TensorArray]]]


def accumulator(dtype: tf.DType) -> tf.DType:
    """The type that states and element-wise work are in: float32 for the half-precision types."""
    return dtype if dtype in (tf.float32, tf.float64) else tf.float32


def length_of(x: tf.Tensor) -> int | tf.Tensor:
    """Number of steps of `x: [T, ...]`, a Python number where it is known."""
    return x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]


def elements(x: tf.Tensor) -> tf.TensorArray:
    """The steps of `x: [T, B, N]`, without copying them."""
    array = tf.TensorArray(x.dtype, size=length_of(x), element_shape=x.shape[1:], clear_after_read=False)
    return array.unstack(x)


def scan(
    steps: int | tf.Tensor,
    step: Step,
    state: tuple[tf.Tensor, ...],
    kinds: Sequence[tuple[tf.DType, int]],
    batch: int | None,
) -> tuple[tuple[tf.Tensor, ...], list[tf.TensorArray]]:
    """Runs `step(t, state, arrays) -> (state, arrays)` for t = 0 .. steps - 1.

    Args:
      kinds: type and width N of each array; its elements are [B, N].

    Returns:
      The last state and the arrays of `steps` elements.
    """
    arrays = [tf.TensorArray(dtype, size=steps, element_shape=[batch, width], clear_after_read=False) for dtype, width in kinds]
    if isinstance(steps, int) and steps == 1:
        state, arrays = step(tf.constant(0), state, arrays)
        for array in arrays if tf.executing_eagerly() else []:
            array.mark_used()  # what only a gradient reads is not read in inference, of which TensorFlow warns at length
        return state, arrays

    def body(t: tf.Tensor, state: tuple[tf.Tensor, ...], arrays: list[tf.TensorArray]) -> tuple:
        state, arrays = step(t, state, arrays)
        return t + 1, state, arrays

    loop = (tf.constant(0), state, arrays)
    _, state, arrays = tf.while_loop(lambda t, *_: t < steps, body, loop, parallel_iterations=1, maximum_iterations=steps)
    return state, arrays

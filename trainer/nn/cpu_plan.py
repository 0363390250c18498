"""How the CPU kernels go about a layer of given sizes.

The rule goes by size and not by cell; `docs/decisions/measured_choices.md` has the times that it rests on.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import tensorflow as tf

ROWS_OF_A_PART, ROWS_OF_A_COMPILED_PART = 32, 16
LARGEST_COMPILED = 512  # hidden units; above it the products rule and XLA gained nothing
SMALLEST_COMPILED = 2**18  # batch x time x hidden; small jobs and tests shall not wait for a compiler


class KernelPlan(NamedTuple):
    """`parts` loops side by side, each over its share of the rows; `compiled` loops are one XLA program each."""

    parts: int
    compiled: bool


def plan_for(x: tf.Tensor, units: int, custom_gradient: bool) -> KernelPlan:
    """Chooses by sizes.

    A step's product is too small to keep several cores busy, but rows don't depend on each other: loops over shares of
    the rows run side by side, as long as each has rows enough for the product to be efficient. XLA fuses what follows
    the product into one pass over memory. It wants sizes that are known and a graph that is not exported
    (`custom_gradient`). Where the number of steps differs between batches, XLA would compile a program for each.
    """
    batch, steps, _ = x.shape
    if batch is None or steps == 1 or not custom_gradient or tf.executing_eagerly():
        return KernelPlan(1, False)
    known = steps is not None and units <= LARGEST_COMPILED and batch * steps * units >= SMALLEST_COMPILED
    compiled = known and x.dtype == tf.float32
    most = min(_cores(), batch // (ROWS_OF_A_COMPILED_PART if compiled else ROWS_OF_A_PART))
    parts = max((count for count in range(1, most + 1) if batch % count == 0), default=1)
    return KernelPlan(parts, compiled)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

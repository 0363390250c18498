"""How the CPU kernels go about a layer of given sizes.

Measured on 2 cores that others used now and then, float32, milliseconds of forward and backward, PyTorch 2.13 with 2
threads beside it. Each pair of rows is one interleaved run of 5 rounds, medians; differences below a tenth are noise.

| | PyTorch | one loop | two, half the rows each | one, compiled by XLA | two, compiled |
| --- | --- | --- | --- | --- | --- |
| LSTM B256 T96 D7 H64 | 62 | 89 | 51 | 67 | 41 |
| GRU, the same | 63 | 60 | 43 | 49 | 33 |
| LSTM B64 T128 D128 H512 | 580 | 498 | 541 | 514 | 507 |
| GRU, the same | 525 | 400 | 355 | 324 | 313 |
| LSTM B32 T64 D256 H1024 | 689 | 491 | 522 | 499 | |
| GRU, the same | 660 | 415 | 404 | 412 | |

A training step of the character model (GRU, T64 D64) while others used the machine too, least of 4 rounds: with 384
units and 32 rows, the whole step compiled 82, one compiled loop 86, two compiled loops of 16 rows 57 (49 in another
run); with 512 units 106, -, 79.

The rule goes by size and not by cell, though the LSTM of 512 would do as well without XLA. Its limits stand between the
sizes measured and were not searched for.
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
    (`custom_gradient`). Where the number of steps differs between batches, XLA would compile a program for each: with
    B64 T17 H256 that saved a tenth of the processor time and took half a minute.
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

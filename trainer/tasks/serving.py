"""A model as it is exported: functions on raw values, and a description for those who call them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Signature:
    """One signature: the function, its inputs, and one example of them for the check after the export."""

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: tuple[tf.TensorSpec, ...]  # named
    example: dict[str, np.ndarray]  # batch of 3, or of the fixed size, of a kind that real requests have


@dataclass(frozen=True)
class Serving:
    """A model ready for export: `contract` is stored beside the model as JSON; `resources` own what the functions use
    but variables.
    """

    signatures: dict[str, Signature]
    contract: dict[str, Any]
    resources: tuple[tf.Module, ...] = ()
    op_modules: tuple[str, ...] = ()  # Python modules that register ops beyond TensorFlow's own
    batch_size: int | None = None  # rows that every request has; None for any number


def with_fixed_batch(serving: Serving, rows: int) -> Serving:
    """The same with the batch dimension of every input fixed, for runtimes that want shapes known beforehand; 0 leaves
    it free.
    """
    if not rows:
        return serving
    signatures = {name: _fixed(signature, rows) for name, signature in serving.signatures.items()}
    return dataclasses.replace(serving, signatures=signatures, batch_size=rows)


def _fixed(signature: Signature, rows: int) -> Signature:
    """With examples of so many rows, the first ones over and over."""
    inputs = tuple(
        tf.TensorSpec([rows, *spec.shape[1:]], spec.dtype, spec.name) if spec.shape.rank else spec
        for spec in signature.inputs
    )
    example = {
        name: np.resize(value, (rows, *value.shape[1:])) if value.ndim else value
        for name, value in signature.example.items()
    }

    def function(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        # A server may feed another batch than the signature tells.
        return signature.function(**{name: tf.ensure_shape(inputs[name], spec.shape) for name, spec in specs.items()})

    specs = {str(spec.name): spec for spec in inputs}
    return Signature(function, inputs, example)

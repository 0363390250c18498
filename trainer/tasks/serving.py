"""What a task hands over for export: functions on raw values, and a description for those who call them."""

from __future__ import annotations

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
    example: dict[str, np.ndarray]  # batch of 3, of a kind that real requests have


@dataclass(frozen=True)
class Serving:
    """A model ready for export: `contract` is stored beside the model as JSON; `resources` own what the functions use but variables."""

    signatures: dict[str, Signature]
    contract: dict[str, Any]
    resources: tuple[tf.Module, ...] = ()
    op_modules: tuple[str, ...] = ()  # Python modules that register ops beyond TensorFlow's own

"""Requests to the signatures of an exported model: of the batch that it was fixed to, and what it refuses told as bad
data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.errors import ConfigError, DataError, Problem, one_line

USUAL_ROWS = 256


def rows_at_once(rows: int | None, contract: dict[str, Any]) -> int:
    """Rows of a request: as many as `--batch_size` wants, or as the export was fixed to.

    Raises:
      ConfigError: the export was fixed to another number.
    """
    fixed: int | None = contract["batch_size"]
    if fixed and rows and rows != fixed:
        reason = f"differs from the batch of {fixed} that the model was exported with"
        raise ConfigError(
            [Problem("batch_size", rows, reason, "leave it out, or export the model with another --batch_size")]
        )
    return fixed or rows or USUAL_ROWS


def check_limit(contract: dict[str, Any], name: str, value: int) -> None:
    """Raises ConfigError where flag `name` asks for more than the export's limit of that name."""
    if value > (most := contract["limits"][name]):
        remedy = f"ask for fewer, or export it with --largest_{name}={value}"
        raise ConfigError([Problem(name, value, f"is above the {most} that the model was exported with", remedy)])


def ask(model: Any, signature: str, contract: dict[str, Any], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a signature for `inputs`, `[B, ...]` each, or scalars for all rows; with a fixed batch, B is at
    most that.

    Raises:
      DataError: the model refuses the inputs.
    """
    import tensorflow as tf

    rows = next(len(value) for value in inputs.values() if value.ndim)
    missing = max(0, (contract["batch_size"] or 0) - rows)
    padded = {name: _padded(value, missing) if value.ndim else value for name, value in inputs.items()}
    try:
        outputs = model.signatures[signature](**{name: tf.constant(value) for name, value in padded.items()})
        return {name: value.numpy()[:rows] for name, value in outputs.items()}
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            f"the model refuses its input ({_refusal(error)}); correct it, or export the model with other limits"
        ) from None


def strings(texts: Sequence[str]) -> np.ndarray:
    """Texts as an input `[B]`."""
    return np.array([text.encode() for text in texts], object)


def _padded(value: np.ndarray, count: int) -> np.ndarray:
    """With its last row so many times more."""
    return np.concatenate([value, np.repeat(value[-1:], count, axis=0)]) if count else value


def _refusal(error: Exception) -> str:
    """`max_tokens must be 1 or more; the request has -5`, out of TensorFlow's `assertion failed: [max_tokens ... has]
    [-5]`.
    """
    text = str(error)
    _, mark, reason = text.partition("assertion failed: [")
    return one_line((reason if mark else text).splitlines()[0].replace("] [", " ").removesuffix("]"))

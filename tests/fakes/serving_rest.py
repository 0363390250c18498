"""How TensorFlow Serving's REST API turns the body of a `:predict` request into inputs, in its row and its column
format.

After `tensorflow_serving/util/json_tensor.cc`: JSON with NaN and Infinity; every input of the signature by its name and
no other; numbers of the input's own kind; rows of one shape, stacked along a new first dimension.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


class BodyError(Exception):
    """The server would answer 400."""


def signature_name(body: str) -> str:
    return str(json.loads(body).get("signature_name", "serving_default"))


def inputs_of(body: str, dtypes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inputs that a body gives to a signature.

    Args:
      body: of the request.
      dtypes: numpy type of each of the signature's inputs; `object` or bytes is a string.

    Raises:
      BodyError: as the server refuses it.
    """
    content = json.loads(body)
    if ("instances" in content) == ("inputs" in content):
        raise BodyError("give one of 'inputs' and 'instances'")
    if "inputs" in content:
        return _columns(content["inputs"], dtypes)
    rows = content["instances"]
    if not isinstance(rows, list) or not rows:
        raise BodyError("instances is not a list with something in it")
    parts = [
        _columns(row, dtypes) if isinstance(row, dict) else _columns({next(iter(dtypes)): row}, dtypes) for row in rows
    ]
    for name in dtypes:
        if len({part[name].shape for part in parts}) > 1:
            raise BodyError(f"{name} has rows of several shapes")
    return {name: np.stack([part[name] for part in parts]) for name in dtypes}


def _columns(values: Any, dtypes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(values, dict):
        values = {next(iter(dtypes)): values}
    if set(values) != set(dtypes):
        raise BodyError(f"keys must be equal to {','.join(sorted(dtypes))}, they are {','.join(sorted(values))}")
    return {name: _tensor(name, values[name], np.dtype(dtype)) for name, dtype in dtypes.items()}


def _tensor(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat: list[Any] = []
    _fill(name, value, shape, dtype, flat)
    return np.array(flat, dtype if dtype.kind in "fi" else object).reshape(shape)


def _fill(name: str, value: Any, shape: list[int], dtype: np.dtype, flat: list[Any]) -> None:
    if isinstance(value, list):
        if not shape or len(value) != shape[0]:
            raise BodyError(f"{name} is not a regular list")
        for each in value:
            _fill(name, each, shape[1:], dtype, flat)
        return
    kinds: dict[str, tuple[type, ...]] = {"f": (int, float), "i": (int,)}
    if shape or isinstance(value, bool) or not isinstance(value, kinds.get(dtype.kind, (str,))):
        raise BodyError(f"{name}: {value!r} is not of expected type {dtype}")
    if isinstance(value, int) and dtype.kind == "i" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise BodyError(f"{name}: {value!r} is not of expected type {dtype}")
    flat.append(value)

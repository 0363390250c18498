"""Whether a written SavedModel computes what the model in memory does, in a fresh process and in every way of loading
it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.saved_model import reload
from trainer.tasks.serving import Serving

TOLERANCE = 1e-4  # of the largest output: the fresh process may sum in another order


def largest_difference(
    serving: Serving, functions: Mapping[str, Callable[..., Any]], model_path: Path, scratch: Path
) -> float:
    """Largest difference over all outputs of all signatures between this process and one without our code, by all
    loaders.

    Args:
      serving: the model.
      functions: signature -> the function in memory.
      model_path: the SavedModel.
      scratch: a directory for inputs and outputs.

    Raises:
      TrainerError: the reloaded model computes something else, or cannot be loaded.
    """
    expected = {}
    for name, signature in serving.signatures.items():
        np.savez(scratch / f"{name}.inputs.npz", **signature.example)  # type: ignore[arg-type]
        outputs = functions[name](**{key: tf.constant(value) for key, value in signature.example.items()})
        expected[name] = reload.as_plain({key: value.numpy() for key, value in outputs.items()})
    command = [sys.executable, "-I", str(reload.__file__), str(model_path), str(scratch), *serving.op_modules]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # the graph has to run on a CPU wherever it was traced
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise TrainerError(
            f"the exported model cannot be loaded again ({lines[-1] if lines else 'no message'}); nothing was published"
        )
    largest = 0.0
    for loader in reload.LOADERS:
        for name, outputs in expected.items():
            loaded = np.load(scratch / loader / f"{name}.npz")
            for key, value in outputs.items():
                largest = max(largest, _difference(value, loaded[key], f"{name}/{key} by {loader}"))
    return largest


def _difference(value: np.ndarray, loaded: np.ndarray, place: str) -> float:
    if not np.issubdtype(value.dtype, np.floating):
        if value.shape != loaded.shape or not np.array_equal(value, loaded):
            raise TrainerError(f"the exported model gives another {place}; nothing was published")
        return 0.0
    difference = float(np.max(np.abs(value - loaded), initial=0.0)) if value.shape == loaded.shape else np.inf
    scale = max(1.0, float(np.max(np.abs(value), initial=0.0)))
    if not np.isfinite(value).all() or not difference <= TOLERANCE * scale:
        raise TrainerError(f"the exported model's {place} is off by {difference}; nothing was published")
    return difference

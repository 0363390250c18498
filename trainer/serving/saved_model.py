"""Writes a SavedModel version for TensorFlow Serving, and believes in it only after a fresh process has computed with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.serving.versions import CONTRACT_FILE, EXTRA_DIRECTORY, versions
from trainer.serving.warm_up import write_warm_up
from trainer.tasks.serving import Serving, Signature

TOLERANCE = 1e-4  # of the largest output: the fresh process may sum in another order

_RELOAD = """
import importlib, sys
import numpy as np, tensorflow as tf
for module in sys.argv[3:]:
    importlib.import_module(module)
loaded = tf.saved_model.load(sys.argv[1])
for name, function in loaded.signatures.items():
    inputs = np.load(f"{sys.argv[2]}/{name}.inputs.npz")
    outputs = function(**{key: tf.constant(inputs[key]) for key in inputs.files})
    arrays = {key: value.numpy() for key, value in outputs.items()}
    plain = {key: value.astype(np.bytes_) if value.dtype == object else value for key, value in arrays.items()}
    np.savez(f"{sys.argv[2]}/{name}.outputs.npz", **plain)
"""


def export(serving: Serving, export_dir: str, extra_texts: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Writes `EXPORT_DIR/VERSION`, the version one above the newest; it appears whole or not at all.

    Args:
      serving: the model.
      export_dir: made where it is absent.
      extra_texts: file -> content, for people; they lie beside the contract in `assets.extra`.

    Returns:
      path, signatures and max_difference (largest absolute difference between the reloaded and the in-memory model).

    Raises:
      TrainerError: the reloaded model computes something else, or cannot be loaded.
    """
    directory = Path(export_dir)
    directory.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".export-", dir=directory))
    try:
        model_path = scratch / "model"
        functions = {name: _traced(signature) for name, signature in serving.signatures.items()}
        tf.saved_model.save(serving.module, str(model_path), signatures=functions)
        extra = model_path / EXTRA_DIRECTORY
        extra.mkdir()
        (extra / CONTRACT_FILE).write_text(
            json.dumps({**serving.contract, "batch_size": serving.batch_size, "op_modules": serving.op_modules}, indent=1) + "\n",
            encoding="utf-8",
        )
        for name, text in (extra_texts or {}).items():
            (extra / name).write_text(text, encoding="utf-8")
        write_warm_up(serving, extra)
        difference = _compare_in_fresh_process(serving, functions, model_path, scratch)
        path = directory / str(_next_version(directory))
        model_path.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"path": str(path), "signatures": sorted(functions), "max_difference": difference}


def _next_version(directory: Path) -> int:
    return max(versions(directory), default=0) + 1


def _traced(signature: Signature) -> Any:
    def named(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature.function(**inputs)

    return tf.function(named).get_concrete_function(**{spec.name: spec for spec in signature.inputs})


def _compare_in_fresh_process(serving: Serving, functions: dict[str, Any], model_path: Path, scratch: Path) -> float:
    """Largest difference over all outputs of all signatures between this process and one without our code."""
    expected = {}
    for name, signature in serving.signatures.items():
        np.savez(scratch / f"{name}.inputs.npz", **signature.example)  # type: ignore[arg-type]
        outputs = functions[name](**{key: tf.constant(value) for key, value in signature.example.items()})
        arrays = {key: value.numpy() for key, value in outputs.items()}
        expected[name] = {key: value.astype(np.bytes_) if value.dtype == object else value for key, value in arrays.items()}
    command = [sys.executable, "-I", "-c", _RELOAD, str(model_path), str(scratch), *serving.op_modules]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # the graph has to run on a CPU wherever it was traced
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise TrainerError(f"the exported model cannot be loaded again ({lines[-1] if lines else 'no message'}); nothing was published")
    largest = 0.0
    for name, outputs in expected.items():
        found = np.load(scratch / f"{name}.outputs.npz")
        for key, value in outputs.items():
            largest = max(largest, _difference(value, found[key], f"{name}/{key}"))
    return largest


def _difference(value: np.ndarray, found: np.ndarray, place: str) -> float:
    if not np.issubdtype(value.dtype, np.floating):
        if value.shape != found.shape or not np.array_equal(value, found):
            raise TrainerError(f"the exported model gives another {place} after loading; nothing was published")
        return 0.0
    difference = float(np.max(np.abs(value - found), initial=0.0)) if value.shape == found.shape else np.inf
    scale = max(1.0, float(np.max(np.abs(value), initial=0.0)))
    if not np.isfinite(value).all() or not difference <= TOLERANCE * scale:
        raise TrainerError(f"the exported model's {place} is off by {difference} after loading; nothing was published")
    return difference

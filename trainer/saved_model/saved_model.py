"""Writes a SavedModel version for TensorFlow Serving, and believes in it only after a fresh process has computed with
it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer.saved_model.self_check import largest_difference
from trainer.saved_model.versions import CONTRACT_FILE, EXTRA_DIRECTORY, versions
from trainer.saved_model.warm_up import write_warm_up
from trainer.tasks.serving import Serving, Signature


def export(serving: Serving, export_dir: str, extra_texts: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Writes `EXPORT_DIR/VERSION`, the version one above the newest; it appears whole or not at all.

    Args:
      serving: the model.
      export_dir: made where it is absent.
      extra_texts: file -> content, for people; they lie beside the contract in `assets.extra`.

    Returns:
      path, signatures and max_difference (largest absolute difference between a reloaded and the in-memory model).

    Raises:
      TrainerError: as `largest_difference` does.
    """
    directory = Path(export_dir)
    directory.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".export-", dir=directory))
    try:
        model_path = scratch / "model"
        functions = save(serving, model_path)
        extra = model_path / EXTRA_DIRECTORY
        extra.mkdir()
        (extra / CONTRACT_FILE).write_text(
            json.dumps(
                {**serving.contract, "batch_size": serving.batch_size, "op_modules": serving.op_modules}, indent=1
            )
            + "\n",
            encoding="utf-8",
        )
        for name, text in (extra_texts or {}).items():
            (extra / name).write_text(text, encoding="utf-8")
        write_warm_up(serving, extra)
        difference = largest_difference(serving, functions, model_path, scratch)
        path = directory / str(_next_version(directory))
        model_path.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"path": str(path), "signatures": sorted(functions), "max_difference": difference}


def save(serving: Serving, path: Path) -> dict[str, Any]:
    """Writes the SavedModel alone, and returns its signatures' functions as they compute in this process."""
    functions = {name: _traced(signature) for name, signature in serving.signatures.items()}
    tf.saved_model.save(_storage(functions.values(), serving.resources), str(path), signatures=functions)
    return functions


def _next_version(directory: Path) -> int:
    return max(versions(directory), default=0) + 1


def _traced(signature: Signature) -> Any:
    def named(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature.function(**inputs)

    return tf.function(named).get_concrete_function(**{spec.name: spec for spec in signature.inputs})


def _storage(functions: Iterable[Any], resources: Sequence[tf.Module]) -> tf.Module:
    """A module that owns every variable that the functions read, and nothing of Keras.

    A SavedModel of a module that tracks a Keras 3 model is broken in sessions: Keras makes a second variable beside
    each, the restore op fills that one, and the functions read the first
    (https://github.com/keras-team/keras/issues/19274).
    """
    module = tf.Module()
    variables = {variable.ref(): variable for function in functions for variable in function.graph.variables}
    module.weights = sorted(
        variables.values(), key=lambda variable: variable.name
    )  # the graph's order differs from run to run
    module.resources = list(resources)
    return module

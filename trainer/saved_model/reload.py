"""Computes every signature of a SavedModel in both ways in which others load it. Run as a script, it needs nothing but
TensorFlow.

`tf.saved_model.load` links variables by the object graph; TensorFlow Serving, the C API with all that is built on it
(Java, Go), and `saved_model_cli` restore them in a session, by the SavedModel's own restore op, as
`tf.compat.v1.saved_model.load` does. A model may be right in the one way and wrong in the other.

    python -I reload.py MODEL DIRECTORY [MODULE ...]

Reads `DIRECTORY/SIGNATURE.inputs.npz`, writes `DIRECTORY/LOADER/SIGNATURE.npz`; the modules register ops.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

Arrays = dict[str, np.ndarray]


def by_objects(path: str, inputs: dict[str, Arrays]) -> Iterator[tuple[str, Arrays]]:
    """Yields each signature of `inputs` with its outputs, by `tf.saved_model.load`."""
    loaded = tf.saved_model.load(path)
    for name, arrays in inputs.items():
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in arrays.items()})
        yield name, {key: value.numpy() for key, value in outputs.items()}


def by_session(path: str, inputs: dict[str, Arrays]) -> Iterator[tuple[str, Arrays]]:
    """As `by_objects`, in a session that the SavedModel's own ops restore."""
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        definitions = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], path).signature_def
        for name, arrays in inputs.items():
            names = definitions[name]
            fed = {names.inputs[key].name: value for key, value in arrays.items()}
            yield name, session.run({key: tensor.name for key, tensor in names.outputs.items()}, fed)


LOADERS: dict[str, Callable[[str, dict[str, Arrays]], Iterator[tuple[str, Arrays]]]] = {
    "tf.saved_model.load": by_objects,
    "tf.compat.v1.saved_model.load": by_session,
}


def as_plain(arrays: Arrays) -> Arrays:
    """The arrays without Python objects, which `np.load` would refuse: strings become bytes."""
    return {key: value.astype(np.bytes_) if value.dtype == object else value for key, value in arrays.items()}


def main(path: str, directory: Path) -> None:
    """Ends the process with the loader's name and the error where one fails."""
    suffix = ".inputs.npz"
    inputs = {file.name.removesuffix(suffix): dict(np.load(file)) for file in sorted(directory.glob(f"*{suffix}"))}
    for loader, compute in LOADERS.items():
        (directory / loader).mkdir()
        try:
            for name, outputs in compute(path, inputs):
                np.savez(directory / loader / f"{name}.npz", **as_plain(outputs))  # type: ignore[arg-type]
        except Exception as error:  # whatever it is, the model is of no use
            sys.exit(
                f"{loader}: {type(error).__name__}: "
                f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
            )


if __name__ == "__main__":
    for module in sys.argv[3:]:
        importlib.import_module(module)
    main(sys.argv[1], Path(sys.argv[2]))

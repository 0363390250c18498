"""Exports in the hands of others: which client computes what `tf.saved_model.load` of our TensorFlow does.

    python benchmarks/clients.py --environments=DIRECTORY NAME=EXPORT [NAME=EXPORT ...]

An EXPORT is a version's directory, such as `runs/demo/export/1`; its requests are those for the warm-up of a server.
The environments are made where they are absent: TensorFlow 2.13 and 2.18, tf2onnx with onnxruntime, OpenVINO. A cell is
the largest difference of all signatures, divided by the largest value, or the error. Last line on stdout: one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
from results import machine, table, write_section

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "tf213": ["tensorflow-cpu==2.13.1", "tensorflow-text==2.13.0rc0"],
    "tf218": ["tensorflow-cpu==2.18.1", "tensorflow-text==2.18.1"],
    "onnx": ["tensorflow-cpu==2.18.1", "tensorflow-text==2.18.1", "tf2onnx", "onnxruntime"],
    "vino": ["openvino"],
}
CLIENTS = {  # column -> environment ("" is ours) and client
    "session": ("", "session"),
    "saved_model_cli": ("", "saved_model_cli"),
    "C API": ("", "c_api"),
    "TFLite": ("tf218", "tflite"),
    "2.13 objects": ("tf213", "objects"),
    "2.13 session": ("tf213", "session"),
    "2.18 objects": ("tf218", "objects"),
    "2.18 session": ("tf218", "session"),
    "ONNX": ("onnx", "onnx"),
    "OpenVINO": ("vino", "openvino"),
}


def python_of(environments: Path, name: str) -> str:
    """The interpreter of an environment, made if absent."""
    if not name:
        return sys.executable
    python = environments / name / "bin" / "python"
    if not python.exists():
        venv.create(environments / name, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
    return str(python)


def write_requests(export: Path, directory: Path) -> list[str]:
    """Writes the warm-up requests of an export and their answers as `.npz`; returns the modules that register its
    ops.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from trainer.saved_model.reload import as_plain

    modules: list[str] = json.loads((export / "assets.extra" / "contract.json").read_text())["op_modules"]
    for module in modules:
        __import__(module)
    loaded = tf.saved_model.load(str(export))
    for record in tf.data.TFRecordDataset(str(export / "assets.extra" / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        name = request.model_spec.signature_name
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        for kind, arrays in (("inputs", inputs), ("outputs", {key: value.numpy() for key, value in outputs.items()})):
            np.savez(directory / f"{name}.{kind}.npz", **as_plain(arrays))  # type: ignore[arg-type]
    return modules


def cell(results: dict[str, float | str]) -> str:
    errors = {name: text for name, text in results.items() if isinstance(text, str) and text != "not run"}
    numbers = [value for value in results.values() if not isinstance(value, str)]
    texts = [f"{max(numbers):.0e} ({len(numbers)} of {len(results)})"] if numbers else []
    for text in sorted(set(errors.values())):
        texts.append(f"{', '.join(name for name, each in errors.items() if each == text)}: {text}".replace("|", "/"))
    return "; ".join(texts) or "not run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", nargs="+")
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--title", default="Clients of exports")
    options = parser.parse_args()
    clients = options.clients.split(",")
    rows, results = [], {}
    for each in options.exports:
        name, _, path = each.partition("=")
        with tempfile.TemporaryDirectory() as directory:
            modules = write_requests(Path(path), Path(directory))
            found: dict[str, Any] = {}
            for client in clients:
                environment, probe = CLIENTS[client]
                command = [
                    python_of(options.environments, environment),
                    str(HERE / "client_probe.py"),
                    probe,
                    path,
                    directory,
                ]
                needed = modules if environment != "vino" else []
                clean = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
                done = subprocess.run([*command, *needed], capture_output=True, text=True, env=clean, check=False)
                lines = done.stdout.splitlines()
                error = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
                found[client] = json.loads(lines[-1]) if done.returncode == 0 and lines else {"": error[:160]}
                print(name, client, cell(found[client]), file=sys.stderr, flush=True)
        results[name] = found
        rows.append([name, *(cell(found[client]) for client in clients)])
    body = (
        "\n\n".join((__doc__ or "").strip().split("\n\n")[0:1])
        + f"\n\n{machine()}\n\n"
        + table(["export", *clients], rows)
    )
    write_section(options.title, body)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

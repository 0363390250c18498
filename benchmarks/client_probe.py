"""One export in one client; run by clients.py with the interpreter of the client's environment.

    python client_probe.py CLIENT MODEL REQUESTS [MODULE ...]

`REQUESTS/SIGNATURE.inputs.npz` and `REQUESTS/SIGNATURE.outputs.npz`: a request and its answer by `tf.saved_model.load`
of the newest TensorFlow. Last line on stdout: a JSON object, signature -> largest difference divided by the largest
value, or the error as text.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

Arrays = dict[str, Any]
Client = Callable[[str, dict[str, Arrays]], Iterator[tuple[str, Any]]]


def objects(path: str, requests: dict[str, Arrays]) -> Iterator[tuple[str, Any]]:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    for name, inputs in requests.items():
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        yield name, {key: value.numpy() for key, value in outputs.items()}


def session(path: str, requests: dict[str, Arrays]) -> Iterator[tuple[str, Any]]:
    import tensorflow as tf

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as running:
        definitions = tf.compat.v1.saved_model.load(running, ["serve"], path).signature_def
        for name, inputs in requests.items():
            definition = definitions[name]
            fed = {definition.inputs[key].name: value for key, value in inputs.items()}
            try:
                yield name, running.run({key: tensor.name for key, tensor in definition.outputs.items()}, fed)
            except Exception as error:
                yield name, error


def saved_model_cli(path: str, requests: dict[str, Arrays]) -> Iterator[tuple[str, Any]]:
    tool = Path(sys.executable).with_name("saved_model_cli")
    for name, inputs in requests.items():
        with tempfile.TemporaryDirectory() as scratch:
            for key, value in inputs.items():
                np.save(f"{scratch}/{key}.npy", value)
            texts = ";".join(f"{key}={scratch}/{key}.npy" for key in inputs)
            command = [
                str(tool),
                "run",
                "--dir",
                path,
                "--tag_set",
                "serve",
                "--signature_def",
                name,
                "--inputs",
                texts,
            ]
            done = subprocess.run([*command, "--outdir", f"{scratch}/out"], capture_output=True, text=True, check=False)
            if done.returncode:
                yield name, RuntimeError(done.stderr.strip().splitlines()[-1])
            else:
                yield name, {file.stem: np.load(file, allow_pickle=True) for file in Path(scratch, "out").glob("*.npy")}


def c_api(path: str, requests: dict[str, Arrays]) -> Iterator[tuple[str, Any]]:
    """By tests/support/c_api.py, in which no Python of TensorFlow runs."""
    from tensorflow.core.protobuf import saved_model_pb2

    libraries = []
    if text := sys.modules.get("tensorflow_text"):
        libraries = [
            str(file) for file in sorted(Path(str(text.__file__)).parent.glob("**/_sentencepiece_tokenizer.so"))
        ]
    meta = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes()).meta_graphs[0]
    for name, inputs in requests.items():
        signature = meta.signature_def[name]
        fed = [[signature.inputs[key].name, *_typed(value)] for key, value in inputs.items()]
        types = {1: "float32", 3: "int32", 7: "string", 9: "int64"}
        read = [[tensor.name, types[tensor.dtype], None] for tensor in signature.outputs.values()]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"inputs": fed, "outputs": read}, file)
            file.flush()
            script = Path(__file__).resolve().parents[1] / "tests" / "c_api.py"
            command = [sys.executable, str(script), path, file.name, *libraries]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            yield name, RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
        else:
            yield name, dict(zip(signature.outputs, map(np.array, json.loads(done.stdout.splitlines()[-1]))))


def _typed(value: np.ndarray) -> tuple[str, Any]:
    if value.dtype.kind == "S":
        return "string", [text.decode() for text in value.tolist()]
    return str(value.dtype), value.tolist()


def onnx(path: str, requests: dict[str, Arrays]) -> Iterator[tuple[str, Any]]:
    import onnxruntime

    for name, inputs in requests.items():
        with tempfile.TemporaryDirectory() as scratch:
            file = f"{scratch}/model.onnx"
            command = [
                sys.executable,
                "-m",
                "tf2onnx.convert",
                "--saved-model",
                path,
                "--signature_def",
                name,
                "--opset",
                "18",
            ]
            done = subprocess.run([*command, "--output", file], capture_output=True, text=True, check=False)
            if done.returncode or not Path(file).exists():
                lines = [line for line in done.stderr.splitlines() if "rror" in line or "not supported" in line]
                yield name, RuntimeError(lines[-1] if lines else "tf2onnx failed")
                continue
            try:
                running = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
                fed = {each.name: inputs[each.name.split(":")[0]] for each in running.get_inputs()}
                names = [each.name.split(":")[0] for each in running.get_outputs()]
                yield name, dict(zip(names, running.run(None, fed)))
            except Exception as error:
                yield name, error


def openvino(path: str, requests: dict[str, Arrays]) -> Iterator[tuple[str, Any]]:
    import openvino as ov

    for name, inputs in requests.items():
        if name != "serving_default":
            continue
        compiled = ov.Core().compile_model(ov.convert_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled({place.get_any_name(): inputs[_named(place.get_names(), inputs)] for place in compiled.inputs})
        yield name, {_named(place.get_names(), ("forecast",)): value for place, value in found.items()}


def _named(names: set[str], choices: Any) -> str:
    return (
        next(choice for choice in choices if any(choice in name for name in names))
        if len(choices) > 1
        else next(iter(choices))
    )


def tflite(path: str, requests: dict[str, Arrays]) -> Iterator[tuple[str, Any]]:
    import tensorflow as tf

    for name, inputs in requests.items():
        converter = tf.lite.TFLiteConverter.from_saved_model(path, signature_keys=[name])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        converter._experimental_lower_tensor_list_ops = False
        try:
            run = tf.lite.Interpreter(model_content=converter.convert()).get_signature_runner(name)
            yield name, run(**inputs)
        except Exception as error:
            yield name, error


def difference(expected: Arrays, found: Any) -> float | str:
    if isinstance(found, Exception):
        lines = [line for line in str(found).splitlines() if line.strip()]
        return f"{type(found).__name__}: {lines[0] if lines else ''}"[:160]
    largest = 0.0
    for key, value in expected.items():
        other = np.asarray(found[key])
        if other.dtype == object or value.dtype.kind in "SU":
            if other.astype(np.bytes_).tolist() != value.astype(np.bytes_).tolist():
                return f"another {key}"
        elif other.shape != value.shape or not np.array_equal(np.isfinite(other), np.isfinite(value)):
            return f"another {key}"
        else:
            finite = np.isfinite(value)
            scale = np.max(np.abs(value[finite]), initial=1e-30)
            largest = max(
                largest, float(np.max(np.abs(other[finite].astype(float) - value[finite]), initial=0.0) / scale)
            )
    return largest


CLIENTS: dict[str, Client] = {
    client.__name__: client for client in (objects, session, saved_model_cli, c_api, onnx, openvino, tflite)
}


def main(client: str, path: str, directory: Path) -> dict[str, float | str]:
    requests = {
        file.name.removesuffix(".inputs.npz"): dict(np.load(file).items())
        for file in sorted(directory.glob("*.inputs.npz"))
    }
    results: dict[str, float | str] = dict.fromkeys(requests, "not run")
    try:
        for name, found in CLIENTS[client](path, requests):
            results[name] = difference(dict(np.load(directory / f"{name}.outputs.npz").items()), found)
    except Exception as error:
        results = {name: difference({}, error) if result == "not run" else result for name, result in results.items()}
    return results


if __name__ == "__main__":
    for module in sys.argv[4:]:
        importlib.import_module(module)
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))

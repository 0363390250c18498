"""SavedModels in the hands of others: every tokenizer of every task in both ways of loading, the C API, and
TensorFlow's own command.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT
from series_runs import prepare_csv, untrained, write_series_csv

from trainer.cli import flags
from trainer.errors import TrainerError
from trainer.tasks.configurations import ExportConfig, PrepareConfig, TrainConfig

TEXTS = [
    "the small dog sees a cat",
    "a dog and the dog and a bird",
    "two cats",
    "the bird sees the small cat in the tree",
] * 20
TRANSLATIONS = [
    "le petit chien voit un chat",
    "un chien et le chien et un oiseau",
    "deux chats",
    "l'oiseau voit le petit chat",
] * 20
FORECAST = ("--lookback=24", "--horizon=6", "--time_features")
KINDS = ("char", "byte", "word", "sentencepiece")


def serving_of(data: Path, *more: str):
    """The model of a dataset with its first random weights, ready for export."""
    quick = ["--model_dir=unused", "--units=8", "--batch_size=8", "--train_steps=1"]
    task, model = untrained(flags.parse(TrainConfig, [f"--data_dir={data}", *quick, *more]))
    return task.serving(model, flags.parse(ExportConfig, ["--model_dir=unused", "--export_dir=written"]))


def text_data(directory: Path, name: str, *more: str) -> Path:
    from trainer import prepare

    (directory / "s.txt").write_text("".join(f"{line}\n" for line in TEXTS))
    (directory / "t.txt").write_text("".join(f"{line}\n" for line in TRANSLATIONS))
    quick = [f"--output_dir={directory}/{name}", "--splits=0.8,0.1,0.1", "--num_shards=1", "--num_processes=1"]
    prepare.prepare(flags.parse(PrepareConfig, [*quick, *more]))
    return directory / name


# Every model is loaded before the first one is asked, in both ways, so that one process holds all of them at once.
ALL_AT_ONCE = """
import sys
import numpy as np, tensorflow as tf, tensorflow_text
sys.modules["trainer"] = None
paths = sys.argv[1:]
objects = [tf.saved_model.load(path) for path in paths]
sessions = []
for path in paths:
    with tf.Graph().as_default() as graph:
        session = tf.compat.v1.Session(graph=graph)
        sessions.append((session, tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def))
for path, loaded, (session, definitions) in zip(paths, objects, sessions):
    for name, function in loaded.signatures.items():
        inputs = dict(np.load(f"{path}/{name}.npz"))
        outputs = function(**{key: tf.constant(value) for key, value in inputs.items()})
        definition = definitions[name]
        again = session.run({key: tensor.name for key, tensor in definition.outputs.items()},
                            {definition.inputs[key].name: value for key, value in inputs.items()})
        for way, arrays in (("objects", {key: value.numpy() for key, value in outputs.items()}), ("session", again)):
            plain = {key: value.astype(np.bytes_) if value.dtype == object else value for key, value in arrays.items()}
            np.savez(f"{path}/{name}.{way}.npz", **plain)
"""


def test_every_tokenizer_of_each_task_in_one_process(tf, tmp_path):
    """Languages and pairs with one and with two vocabularies; all are in the same process and keep their vocabularies
    apart.
    """
    from trainer.saved_model.saved_model import save

    expected = {}
    for kind in KINDS:
        size = [] if kind in ("char", "byte") else ["--vocab_size=60"]
        tokenizer = [f"--tokenizer={kind}", *size]
        pairs = ["--task=seq2seq", "--source=pairs", f"--input={tmp_path}/s.txt,{tmp_path}/t.txt", *tokenizer]
        for name, options in {
            "text": ["--task=language_model", "--source=text", f"--input={tmp_path}/t.txt", *tokenizer],
            "two": pairs,
            "joint": [*pairs, "--joint_vocabulary"],
        }.items():
            if kind == "byte" and name == "joint":  # bytes are one vocabulary anyway
                continue
            serving = serving_of(text_data(tmp_path, f"{kind}_{name}", *options))
            quickest = {
                name: signature
                for name, signature in serving.signatures.items()
                if name in ("greedy", "encode", "step")
            }
            serving = dataclasses.replace(serving, signatures=quickest)
            path = tmp_path / f"{kind}_{name}_model"
            functions = save(serving, path)
            for signature, function in functions.items():
                example = serving.signatures[signature].example
                np.savez(path / f"{signature}.npz", **example)
                outputs = function(**{key: tf.constant(value) for key, value in example.items()})
                expected[path / signature] = {key: value.numpy() for key, value in outputs.items()}
    models = sorted({str(path.parent) for path in expected})
    assert len(models) == 11
    done = subprocess.run(
        [sys.executable, "-c", ALL_AT_ONCE, *models], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for path, outputs in expected.items():
        for way in ("objects", "session"):
            found = np.load(f"{path}.{way}.npz")
            for key, value in outputs.items():
                if value.dtype == object:
                    assert found[key].tolist() == value.astype(np.bytes_).tolist(), f"{path} {way} {key}"
                else:
                    np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=f"{path} {way} {key}")


@pytest.fixture(scope="module")
def forecaster(tf, tmp_path_factory) -> Path:
    """A SavedModel of an untrained forecaster that reads times; `example.npz` beside it has inputs and outputs."""
    from trainer.saved_model.saved_model import save

    directory = tmp_path_factory.mktemp("forecaster")
    prepare_csv(write_series_csv(directory / "series.csv", 300), directory / "data")
    serving = serving_of(directory / "data", *FORECAST)
    functions = save(serving, directory / "model")
    example = serving.signatures["serving_default"].example
    outputs = functions["serving_default"](**{key: tf.constant(value) for key, value in example.items()})
    np.savez(directory / "example.npz", **example)
    np.save(directory / "forecast.npy", outputs["forecast"].numpy())
    return directory


def test_the_c_api(forecaster, tmp_path):
    """What bindings for other languages, and in its way TensorFlow Serving, do."""
    from tensorflow.core.protobuf import saved_model_pb2

    meta = saved_model_pb2.SavedModel.FromString((forecaster / "model" / "saved_model.pb").read_bytes()).meta_graphs[0]
    signature = meta.signature_def["serving_default"]
    example = dict(np.load(forecaster / "example.npz"))
    inputs = [[signature.inputs[key].name, str(value.dtype), value.tolist()] for key, value in example.items()]
    outputs = [[signature.outputs["forecast"].name, "float32", None]]
    (tmp_path / "request.json").write_text(json.dumps({"inputs": inputs, "outputs": outputs}))
    command = [
        sys.executable,
        str(ROOT / "tests" / "support" / "c_api.py"),
        str(forecaster / "model"),
        f"{tmp_path}/request.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    [forecast] = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(forecast, np.load(forecaster / "forecast.npy"), rtol=1e-5)


def test_saved_model_cli(forecaster, tmp_path):
    tool = Path(sys.executable).with_name("saved_model_cli")
    texts = [f"{key}={forecaster}/example.npz[{key}]" for key in np.load(forecaster / "example.npz").files]
    command = [
        str(tool),
        "run",
        "--dir",
        str(forecaster / "model"),
        "--tag_set",
        "serve",
        "--signature_def",
        "serving_default",
    ]
    done = subprocess.run(
        [*command, "--inputs", ";".join(texts), "--outdir", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "forecast.npy"), np.load(forecaster / "forecast.npy"), rtol=1e-5)


def test_a_model_that_one_way_of_loading_breaks_is_not_published(tf, forecaster, tmp_path, monkeypatch):
    """As exports were once: `tf.saved_model.load` reads a module that tracks a Keras model rightly, a session does
    not.
    """
    from trainer.saved_model import saved_model

    serving = serving_of(forecaster / "data", *FORECAST)

    def tracked(functions, resources):
        module = tf.Module()
        module.model = serving.signatures["serving_default"].function.__self__.model
        return module

    monkeypatch.setattr(saved_model, "_storage", tracked)
    with pytest.raises(
        TrainerError, match=r"cannot be loaded again \(tf\.compat\.v1\.saved_model\.load: .*; nothing was published"
    ):
        saved_model.export(serving, str(tmp_path / "export"))
    assert list((tmp_path / "export").iterdir()) == []

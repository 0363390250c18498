"""Exports with a fixed batch: sizes are known beforehand, runtimes without dynamic lists give the same, other batches
are refused.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import export_of
from series_runs import prepare_csv, train_config, write_series_csv

from trainer import predict
from trainer.cli import flags
from trainer.tasks.configurations import PredictConfig

ROWS = 4


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three files, which lie beside it."""
    place = tmp_path_factory.mktemp("groups")
    for number, name in enumerate("abc"):
        write_series_csv(place / f"{name}.csv", 200, seed=number, missing=0.02)
    prepare_csv(place / "?.csv", place / "data", "--splits=0.7,0.15,0.15")
    return place


@pytest.fixture(scope="module")
def exports(tf: Any, groups: Path) -> dict[str, Path]:
    """The same model without and with a fixed batch."""
    config = train_config(groups / "data", "m", "--time_features", "--num_layers=2")
    return {
        name: export_of(config, groups / name, *more)
        for name, more in (("free", []), ("fixed", [f"--batch_size={ROWS}"]))
    }


def signature_shapes(path: Path) -> dict[str, list[int]]:
    """Sizes of all inputs and outputs, out of the file."""
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]
    signature = graph.signature_def["serving_default"]
    return {
        name: [part.size for part in one.tensor_shape.dim]
        for name, one in (*signature.inputs.items(), *signature.outputs.items())
    }


def test_the_signature_tells_all_sizes(exports: dict[str, Path]) -> None:
    assert signature_shapes(exports["fixed"]) == {
        "values": [4, 24, 2],
        "times": [4, 24],
        "group": [4],
        "forecast": [4, 6, 2],
    }
    assert signature_shapes(exports["free"])["values"] == [-1, 24, 2]


def test_another_batch_is_refused(tf: Any, exports: dict[str, Path]) -> None:
    """By a session whose placeholders let it through, too, as those of TensorFlow Serving do."""
    inputs = {
        "values": np.ones([3, 24, 2], np.float32),
        "times": np.zeros([3, 24], np.int64),
        "group": np.zeros(3, np.int32),
    }
    # any may be first
    said = r"Shape of tensor \w*(values|times|group)\w* \[3(,24)?(,2)?\] is not compatible with expected shape \[4"
    forecast = tf.saved_model.load(str(exports["fixed"])).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        forecast(**{name: tf.constant(value) for name, value in inputs.items()})
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(exports["fixed"]))
        signature = loaded.signature_def["serving_default"]
        fed = {signature.inputs[name].name: value for name, value in inputs.items()}
        run = session._make_callable_from_options(_fetching([signature.outputs["forecast"].name], list(fed)))
        with pytest.raises(tf.errors.InvalidArgumentError, match="is not compatible with expected shape"):
            run(*fed.values())


def _fetching(outputs: list[str], inputs: list[str]) -> Any:
    """What a session shall run without a look at the placeholders' shapes, which only Session.run of Python takes."""
    from tensorflow.core.protobuf import config_pb2

    return config_pb2.CallableOptions(fetch=outputs, feed=inputs)


def test_predict_fills_up_the_last_batch(exports: dict[str, Path], groups: Path, tmp_path: Path) -> None:
    """Three files into a batch of four."""
    rows: dict[str, list[list[str]]] = {}
    for name, path in exports.items():
        output = tmp_path / f"{name}.csv"
        predict.main(
            flags.parse(PredictConfig, [f"--export_dir={path}", f"--input={groups}/?.csv", f"--output={output}"])
        )
        rows[name] = list(csv.reader(output.open()))
    assert len(rows["fixed"]) == 1 + 3 * 6 and [row[:2] for row in rows["fixed"]] == [row[:2] for row in rows["free"]]
    fixed, free = (np.array([row[2:] for row in rows[name][1:]], float) for name in ("fixed", "free"))
    np.testing.assert_allclose(fixed, free, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [["--time_features=false"], ["--time_features", "--cell=gru", "--output=quantiles"]]
)
def test_tflite_without_flex_ops_gives_the_same(
    tf: Any, small_dataset: Path, tmp_path: Path, options: list[str]
) -> None:
    drawn = ["--copula=none"] if "--output=quantiles" in options else []
    path = export_of(train_config(small_dataset, "m", *options), tmp_path / "e", f"--batch_size={ROWS}", *drawn)
    forecast = tf.saved_model.load(str(path)).signatures["serving_default"]
    random = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {"values": random.normal(10, 3, (ROWS, 24, 2)).astype(np.float32)}
    inputs["values"][1, 3:5, 0], inputs["values"][2] = np.nan, np.nan
    if "--time_features" in options:
        inputs["times"] = (np.array([0, 1_700_000_000, 4_000_000_000, -86_401])[:, None] + 3600 * np.arange(24)).astype(
            np.int64
        )
    expected = forecast(**{name: tf.constant(value) for name, value in inputs.items()})
    converted = tf.lite.TFLiteConverter.from_saved_model(str(path), signature_keys=["serving_default"]).convert()
    found = tf.lite.Interpreter(model_content=converted).get_signature_runner("serving_default")(**inputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-5, atol=1e-5)

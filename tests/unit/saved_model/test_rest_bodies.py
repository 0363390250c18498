"""The bodies of `:predict` requests in docs/serving.md against the signatures that exports have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from series_runs import prepare_csv, train_config, write_series_csv
from serving_rest import BodyError, inputs_of, signature_name

from trainer.cli import flags
from trainer.tasks.configurations import ExportConfig, PrepareConfig, TrainConfig

ROOT = Path(__file__).parents[3]
BODIES = re.findall(r"^\{\".*\}$", (ROOT / "docs" / "serving.md").read_text(), re.MULTILINE)


@dataclass(frozen=True)
class Served:
    """A signature as a server has it: the types of its inputs, and a function of them that gives numpy arrays."""

    task: str
    dtypes: dict[str, Any]
    run: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def served(tf: Any, config: TrainConfig) -> dict[str, Served]:
    """The signatures of a model with random weights."""
    from trainer.tasks.datasets import read
    from trainer.tasks.registry import task_for

    task = task_for(config, read(config.data_dir))
    model = task.objective.build_model("float32")
    task.objective.build_variables(model)
    serving = task.serving(
        model, flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", "--copula=none", "--n_best=2"])
    )
    return {name: _served(tf, task.name, signature) for name, signature in serving.signatures.items()}


def _served(tf: Any, task: str, signature: Any) -> Served:
    specs = {spec.name: spec for spec in signature.inputs}
    function = tf.function(lambda **inputs: signature.function(**inputs)).get_concrete_function(**specs)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
        for name, value in tensors.items():
            assert specs[name].shape.is_compatible_with(value.shape), (
                f"{name} is {value.shape}, the signature takes {specs[name].shape}"
            )
        return {name: value.numpy() for name, value in function(**tensors).items()}

    return Served(task, {name: spec.dtype.as_numpy_dtype for name, spec in specs.items()}, run)


@pytest.fixture(scope="module")
def models(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Served]]:
    """Task -> its signatures; the forecaster looks back on four hours of one column and reads the calendar."""
    from trainer.prepare import prepare

    place = tmp_path_factory.mktemp("bodies")
    hours = prepare_csv(write_series_csv(place / "load.csv", 120, columns=1), place / "hours", "--splits=0.8,0.1,0.1")
    quick = ["--num_shards=1", "--num_processes=1", "--source=text", f"--input={place}/a.txt"]
    for name in ("a.txt", "b.txt"):
        (place / name).write_text("To be or not to be, that is the question.\n" * 20)
    prepare(flags.parse(PrepareConfig, ["--task=language_model", f"--output_dir={place}/text", *quick]))
    quick[2:] = ["--source=pairs", f"--input={place}/a.txt,{place}/b.txt", "--joint_vocabulary"]
    prepare(flags.parse(PrepareConfig, ["--task=seq2seq", f"--output_dir={place}/pairs", *quick]))
    small = ["--units=8", "--train_steps=1"]
    configs = [train_config(hours, place / "m", "--lookback=4", "--horizon=2", "--time_features", "--output=quantiles")]
    configs += [
        flags.parse(TrainConfig, [f"--data_dir={place}/{data}", "--model_dir=m", *small]) for data in ("text", "pairs")
    ]
    found = [served(tf, config) for config in configs]
    return {next(iter(signatures.values())).task: signatures for signatures in found}


def body_of(models: dict[str, dict[str, Served]], body: str) -> tuple[Served, dict[str, np.ndarray]]:
    """The signature that a body is for, by its inputs, and the inputs."""
    found, reasons = [], []
    for signatures in models.values():
        signature = signatures.get(signature_name(body))
        try:
            found += [(signature, inputs_of(body, signature.dtypes))] if signature else []
        except BodyError as error:
            reasons.append(str(error))
    assert len(found) == 1, (body, reasons)
    return found[0]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[:40])
def test_a_body_of_the_readme_is_answered(models: dict[str, dict[str, Served]], body: str) -> None:
    signature, inputs = body_of(models, body)
    outputs = signature.run(inputs)
    for name, value in outputs.items():
        assert value.dtype.kind not in "f" or name in ("scores", "log_probabilities") or np.isfinite(value).all(), name
        assert value.shape[0] == len(next(value for value in inputs.values() if value.ndim)), name
    if signature_name(body) == "sample":
        assert outputs["samples"].shape[1] == inputs["num_samples"]


def test_there_is_a_body_for_every_task(models: dict[str, dict[str, Served]]) -> None:
    told = {(body_of(models, body)[0].task, signature_name(body)) for body in BODIES}
    assert told >= {("forecast", "sample"), *((task, "serving_default") for task in models)}
    (forecast,) = [body for body in BODIES if "NaN" in body and "instances" in body]
    values = body_of(models, forecast)[1]["values"]
    assert values.dtype == np.float32 and values.shape == (1, 4, 1) and np.isnan(values).sum() == 1


def test_what_a_server_refuses(models: dict[str, dict[str, Served]]) -> None:
    """What the page says not to send."""
    forecast, sample = models["forecast"]["serving_default"].dtypes, models["forecast"]["sample"].dtypes
    row = {"values": [[1.0]] * 4, "times": [0, 3600, 7200, 10800]}
    inputs_of(json.dumps({"instances": [row]}), forecast)
    for wrong in (
        {"values": [[None]] * 4},
        {"times": [0.5] * 4},
        {"times": ["0"] * 4},
        {"values": [[1.0], 1.0, [1.0], [1.0]]},
    ):
        with pytest.raises(BodyError):
            inputs_of(json.dumps({"instances": [row | wrong]}), forecast)
    with pytest.raises(BodyError, match="keys must be equal to times,values, they are values"):
        inputs_of(json.dumps({"instances": [{"values": row["values"]}]}), forecast)
    scalars = inputs_of(json.dumps({"instances": [row | {"num_samples": 5, "seed": 1}]}), sample)
    with pytest.raises(AssertionError, match=r"num_samples is \(1,\), the signature takes \(\)"):
        models["forecast"]["sample"].run(scalars)
    language = models["language_model"]["serving_default"].dtypes
    with pytest.raises(BodyError, match="keys must be equal to max_tokens,prompt,seed,temperature,top_k,top_p"):
        inputs_of('{"instances": [{"prompt": "To be", "max_tokens": 5}]}', language)

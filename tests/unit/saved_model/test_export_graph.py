"""Exported forecast graphs hold what converters to other runtimes can take, and what these make of it is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from series_runs import train_config, untrained

from trainer.cli import flags
from trainer.tasks.configurations import ExportConfig

PLAIN = "--time_features=false"
MODELS = {
    "stack": [PLAIN, "--num_layers=2", "--residual", "--layer_norm"],
    "gru": [PLAIN, "--cell=gru"],
    "ensemble": [PLAIN, "--segment_length=3", "--ensemble_size=2"],
    "linear_skip": [PLAIN, "--linear_skip=average"],
    "calendar": ["--time_features"],
    "joint": [PLAIN, "--series=multivariate"],
    "quantiles": [PLAIN, "--output=quantiles"],
}
PASSED_ON = {"Identity", "LogicalNot", "LogicalOr", "LogicalAnd", "BroadcastTo", "ExpandDims", "Reshape", "Cast"}


def serving_of(dataset: Any, *options: str) -> Any:
    """What a forecaster with random weights hands over for export."""
    task, model = untrained(train_config(dataset, "unused", *options))
    for number, variable in enumerate(model.variables):
        random = np.random.default_rng(number)
        variable.assign(random.normal(0, 0.3, variable.shape).astype(np.float32))
    drawn = ["--copula=none"] if "--output=quantiles" in options else []
    return task.serving(model, flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", *drawn]))


def traced(tf: Any, signature: Any) -> Any:
    specs = {spec.name: spec for spec in signature.inputs}
    return tf.function(lambda **inputs: signature.function(**inputs)).get_concrete_function(**specs)


def conditions(operation: Any) -> Iterator[str]:
    """Types of the ops that a condition is made of."""
    yield operation.type
    if operation.type in PASSED_ON:
        for tensor in operation.inputs:
            yield from conditions(tensor.op)


@pytest.mark.parametrize("name", MODELS)
def test_what_converters_cannot_take_is_not_in_the_graph(tf: Any, small_dataset: Any, name: str) -> None:
    operations = traced(
        tf, serving_of(small_dataset, *MODELS[name]).signatures["serving_default"]
    ).graph.get_operations()
    assert not [one.name for one in operations if one.type in ("TensorListGetItem", "TensorListSetItem")], (
        "lists outside a loop"
    )
    stacked = [one.inputs[0].op.type for one in operations if one.type == "TensorListStack"]
    assert stacked and set(stacked) <= {"While", "StatelessWhile"}
    repeated = [tensor.shape for one in operations if one.type in ("Tile", "Reshape") for tensor in one.outputs]
    assert repeated and not [shape for shape in repeated if shape.rank and 0 in shape.as_list()], "nothing is repeated"
    chosen = [list(conditions(one.inputs[0].op)) for one in operations if one.type in ("Select", "SelectV2")]
    assert chosen and not [one for one in chosen if "IsFinite" in one]
    assert [one for one in chosen if one == ["IsNan"]] and [one for one in chosen if one == ["IsInf"]]


def test_infinite_values_are_missing_values(tf: Any, small_dataset: Any) -> None:
    signature = serving_of(small_dataset, *MODELS["stack"]).signatures["serving_default"]
    values = signature.example["values"].copy()
    values[:, 3:5, 0] = np.nan
    with_gaps = traced(tf, signature)(values=tf.constant(values))["forecast"].numpy()
    values[:, 3, 0], values[:, 4, 0] = np.inf, -np.inf
    infinite = traced(tf, signature)(values=tf.constant(values))["forecast"].numpy()
    assert np.isfinite(with_gaps).all()
    np.testing.assert_array_equal(with_gaps, infinite)

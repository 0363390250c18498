"""What any registered task must hold, ours and the example: training, evaluation, checkpoints and exports rely on
it.
"""

import dataclasses
import importlib.util
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from series_runs import write_series_csv

from trainer.cli import flags
from trainer.tasks import configurations, datasets, registry

EXAMPLE = Path(__file__).parents[2] / "example_task"
PREPARE = {
    "forecast": ["--source=csv", "--input={place}/series.csv", "--splits=200,60,60"],
    "language_model": ["--source=text", "--input={place}/text.txt", "--splits=0.8,0.1,0.1"],
    "seq2seq": ["--source=pairs", "--input={place}/pairs.txt", "--splits=0.8,0.1,0.1"],
    "majority": ["--source=bits", "--input={place}/bits.txt"],
}
TRAIN = {"forecast": ["--lookback=12", "--horizon=4"], "language_model": ["--sequence_length=8"]}


@pytest.fixture(scope="module")
def classes() -> Iterator[types.ModuleType]:
    """A second `configurations`, with the example registered by its entry point; other tests keep the first one."""
    spec = importlib.util.spec_from_file_location("configurations_with_the_example", configurations.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        patch.setitem(sys.modules, spec.name, module)
        registry.packages.cache_clear()
        spec.loader.exec_module(module)
        yield module
    registry.packages.cache_clear()


@pytest.fixture(scope="module", params=sorted(PREPARE))
def task(
    request: pytest.FixtureRequest, classes: types.ModuleType, tmp_path_factory: pytest.TempPathFactory, tf: Any
) -> Any:
    """The task of a small dataset of files, prepared by the command's own function."""
    from trainer import prepare

    name, place, draw = request.param, tmp_path_factory.mktemp("task"), random.Random(3)
    write_series_csv(place / "series.csv", 320)
    (place / "text.txt").write_text("".join(draw.choices("abcde \n", k=900)))
    (place / "pairs.txt").write_text("".join(f"{number} {number}\t{number}\n" for number in range(90)))
    (place / "bits.txt").write_text("".join("".join(draw.choices("01", k=9)) + "\n" for _ in range(120)))
    given = [argument.format(place=place) for argument in PREPARE[name]]
    arguments = [f"--task={name}", *given, f"--output_dir={place}/data", "--num_shards=2", "--num_processes=1"]
    prepare.prepare(flags.parse(classes.PrepareConfig, arguments))
    train = [
        f"--data_dir={place}/data",
        f"--model_dir={place}/model",
        "--train_steps=3",
        "--batch_size=8",
        "--units=6",
        "--cell=gru",
    ]
    config = flags.parse(classes.TrainConfig, [*train, *TRAIN.get(name, [])])
    return registry.task_for(config, datasets.read(f"{place}/data"))


@pytest.fixture(scope="module")
def model(task: Any) -> Any:
    model = task.objective.build_model("float32")
    task.objective.build_variables(model)
    return model


def test_every_task_is_tried(classes: types.ModuleType) -> None:
    assert set(registry.packages()) == set(PREPARE)


def test_its_parts_are_there(task: Any) -> None:
    declared, facts = registry.flags_of(task.name), registry.facts_type(task.name)
    assert declared.sources and dataclasses.is_dataclass(facts) and task.name == facts.TASK
    assert callable(registry.part(task.name, "predict").run)
    groups = [
        kind for command in ("prepare", "train", "evaluate", "export", "predict") for kind in getattr(declared, command)
    ]
    assert all(kind.GROUP and kind.FIELD.isidentifier() for kind in groups)
    assert isinstance(task.manifest.facts, facts)
    assert all(isinstance(value, str) for value in task.manifest.facts.described().values())


def test_batches_are_as_declared_and_a_function_of_the_step(task: Any) -> None:
    first = [batch for batch, _ in zip(task.data.training_batches(0, None), range(4))]
    (again,) = task.data.training_batches(3, None).take(1)
    for name, spec in task.data.signature(None).items():
        assert all(spec.is_compatible_with(batch[name]) for batch in first), name
        np.testing.assert_array_equal(first[3][name], again[name])
    assert any(
        (first[0][name].shape != first[1][name].shape or (first[0][name].numpy() != first[1][name].numpy()).any())
        for name in first[0]
    )
    examples, timesteps = task.data.read_by(first[0])
    assert 0 < float(examples) <= float(timesteps)


def test_the_loss_is_a_sum_with_its_weight(tf: Any, task: Any, model: Any) -> None:
    (batch,) = task.data.training_batches(0, None).take(1)
    with tf.GradientTape() as tape:
        total, weight, _ = task.objective.loss(model, batch, None, task.objective.initial_state(8))
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    assert total.dtype == weight.dtype == tf.float32 and total.shape == weight.shape == ()
    assert np.isfinite(float(total)) and float(weight) > 0
    assert all(gradient is not None for gradient in gradients)


def test_examples_without_weight_count_nothing(task: Any, model: Any) -> None:
    """Training of whole epochs ends in a batch that is filled up."""
    (batch,) = task.data.training_batches(0, 0).take(1)
    total, weight, _ = task.objective.loss(model, batch, None, task.objective.initial_state(8))
    assert (float(total), float(weight)) == (0.0, 0.0)


def test_evaluation_counts_the_same_whatever_the_batch(task: Any, model: Any) -> None:
    scores = []
    for size in (4, 7):
        sums: dict[str, np.ndarray] = {}
        state = task.objective.initial_state(size)
        for batch in task.data.evaluation_batches("validation", size):
            found, state = task.objective.validation_sums(model, batch, state)
            for name, pair in found.items():
                sums[name] = sums.get(name, np.zeros(2)) + [float(part) for part in pair]
        scores.append(sums)
    if task.name != "language_model":  # whose lanes begin at other places
        assert {name: pytest.approx(pair, rel=1e-4) for name, pair in scores[0].items()} == scores[1]
    assert all(pair[1] > 0 for sums in scores for pair in sums.values())
    assert task.objective.score_name in task.objective.validation_scores(
        model, {name: pair[0] / pair[1] for name, pair in scores[0].items()}
    )


def test_every_signature_takes_its_example_in_any_batch(
    tf: Any, classes: types.ModuleType, task: Any, model: Any
) -> None:
    model.use_portable_kernels()
    serving = task.serving(model, flags.parse(classes.ExportConfig, ["--model_dir=m", "--export_dir=e"]))
    assert (
        serving.contract["task"] == task.name
        and "serving_default" in serving.signatures
        and "limits" in serving.contract
    )
    for signature in serving.signatures.values():
        assert set(signature.example) == {spec.name for spec in signature.inputs}
        function = tf.function(signature.function)
        concrete = function.get_concrete_function(**{spec.name: spec for spec in signature.inputs})
        assert not {node.op for node in concrete.graph.as_graph_def().node if "Cudnn" in node.op}
        three = function(**{name: tf.constant(value) for name, value in signature.example.items()})
        one = function(
            **{name: tf.constant(value[:1] if value.ndim else value) for name, value in signature.example.items()}
        )
        assert {name: value.shape[0] for name, value in one.items()} == dict.fromkeys(three, 1)


def test_the_evaluation_has_a_headline(classes: types.ModuleType, task: Any, model: Any) -> None:
    config = flags.parse(
        classes.EvaluateConfig, ["--model_dir=m", f"--data_dir={task.config.data_dir}", "--batch_size=16"]
    )
    evaluation = task.evaluate(model, config)
    assert evaluation.scores["count"] > 0 and evaluation.scores["baselines"]
    assert isinstance(evaluation.scores["metrics"][evaluation.headline.metric], float)
    assert isinstance(evaluation.sections(), list)

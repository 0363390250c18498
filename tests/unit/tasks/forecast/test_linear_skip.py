"""The linear skip in a run: training starts from the ridge regression, and keeps it where nothing better is found."""

import json
import logging

import numpy as np
import pytest
from series_runs import prepare_csv, train_config, write_series_csv


@pytest.fixture(scope="module")
def whole_series(tmp_path_factory):
    """600 rows of two hourly series without gaps: 400 train, 100 validation, 100 test."""
    directory = tmp_path_factory.mktemp("whole")
    return prepare_csv(write_series_csv(directory / "whole.csv", 600), directory / "data", "--splits=400,100,100")


def train(config):
    from trainer.tasks.datasets import read
    from trainer.training import run
    from trainer.training.preemption import Preemption
    from trainer.training.supervisor import Heartbeat

    with Preemption() as preemption:
        return run.train(config, read(config.data_dir), None, preemption, Heartbeat())


def evaluated(config, checkpoint="best", split="test"):
    from trainer import evaluate
    from trainer.tasks.configurations import EvaluateConfig

    return evaluate.main(
        EvaluateConfig(model_dir=config.model_dir, data_dir=config.data_dir, checkpoint=checkpoint, split=split)
    )


def validations(model_dir):
    """What validation told, by step."""
    lines = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if "validation_mse" in line}


@pytest.mark.parametrize("how", ["add", "average"])
def test_training_that_only_harms_leaves_the_regression(tf, whole_series, tmp_path, how):
    """The network then gets next to no weight; where it gets none, the error is that of the baseline of evaluation, to
    rounding.
    """
    harm = [
        "--optimizer=sgd",
        "--learning_rate=3",
        "--schedule=constant",
        "--train_steps=6",
        "--evaluate_every_steps=3",
    ]
    config = train_config(whole_series, tmp_path / "m", f"--linear_skip={how}", *harm)
    result = train(config)
    validated = validations(tmp_path / "m")
    assert sorted(validated) == ([0, 3, 6] if how == "add" else [3, 6])
    assert validated[3]["validation_network_mse"] > 2 * validated[3]["validation_regression_mse"]
    assert (
        validated[3]["validation_mse"]
        <= validated[3]["validation_regression_mse"]
        == pytest.approx(result["best"]["score"], rel=0.02)
    )
    scores = evaluated(config)
    assert scores["metrics"]["mse"] == pytest.approx(scores["baselines"]["ridge"]["mse"], rel=0.02)
    if how == "add":
        assert validated[6]["validation_network_share"] == 0
        scores = evaluated(config, "last")
        np.testing.assert_allclose(scores["metrics"]["mse"], scores["baselines"]["ridge"]["mse"], rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_what_is_saved_forecasts_as_well_as_validation_said(tf, tmp_path, size):
    """Each checkpoint has the weight of its own validation, on two replicas too; a short series is one that the network
    helps with.
    """
    data = prepare_csv(write_series_csv(tmp_path / "short.csv", 200), tmp_path / "data", "--splits=100,60,40")
    options = [
        "--linear_skip=average",
        "--train_steps=150",
        "--evaluate_every_steps=50",
        "--learning_rate=0.02",
        "--strategy=mirrored",
    ]
    options.append(f"--ensemble_size={size}")
    config = train_config(data, tmp_path / "m", *options, "--batch_size=16")
    best = train(config)["best"]
    validated = validations(tmp_path / "m")
    own = validated[best["step"]]
    assert 0 < own["validation_network_share"] < 1
    assert own["validation_mse"] < min(own["validation_network_mse"], own["validation_regression_mse"])
    for step, checkpoint in ((best["step"], "best"), (150, "last")):
        scores = evaluated(config, checkpoint, "validation")
        assert scores["step"] == step
        assert scores["metrics"]["mse"] == pytest.approx(validated[step]["validation_mse"], rel=1e-4)
        assert scores["baselines"]["ridge"]["mse"] == pytest.approx(
            validated[step]["validation_regression_mse"], rel=1e-4
        )


def test_a_resumed_run_takes_the_regression_from_its_checkpoint(tf, whole_series, tmp_path, caplog):
    caplog.set_level(logging.INFO)

    options = ["--schedule=constant", "--evaluate_every_steps=4"]

    def config(name, steps):
        return train_config(whole_series, tmp_path / name, "--linear_skip=add", *options, f"--train_steps={steps}")

    whole, _ = train(config("whole", 8)), train(config("part", 4))
    assert caplog.text.count("ridge regression") == 2
    resumed = train(config("part", 8))
    assert caplog.text.count("ridge regression") == 2, "it is not fitted again"
    assert resumed["resumed_from"] == 4 and resumed["best"] == whole["best"]
    assert evaluated(config("part", 8), "last")["weights"] == evaluated(config("whole", 8), "last")["weights"]


def test_a_split_without_whole_targets_cannot_be_fitted(whole_series, tmp_path, tf):
    from trainer.errors import DataError

    gaps = write_series_csv(tmp_path / "gaps.csv", 600, missing=0.9)
    data = prepare_csv(gaps, tmp_path / "data", "--splits=400,100,100")
    with pytest.raises(
        DataError, match=r"--linear_skip: no window of .* has all its targets; leave it out, or fill the gaps"
    ):
        train(train_config(data, tmp_path / "m", "--linear_skip=add", "--horizon=12"))

"""The linear skip in a run: training starts from the ridge regression, and keeps it where nothing better is found."""

import json
import logging

import numpy as np
import pytest
from conftest import prepare_csv, train_config, write_series_csv


@pytest.fixture(scope="module")
def whole_series(tmp_path_factory):
    """600 rows of two hourly series without gaps: 400 train, 100 validation, 100 test."""
    directory = tmp_path_factory.mktemp("whole")
    return prepare_csv(write_series_csv(directory / "whole.csv", 600), directory / "data", "--splits=400,100,100")


def train(config):
    from trainer.data.manifest import read
    from trainer.training import run
    from trainer.training.preemption import Preemption
    from trainer.training.supervisor import Heartbeat

    with Preemption() as preemption:
        return run.train(config, read(config.data_dir), None, preemption, Heartbeat())


def evaluated(config, checkpoint="best"):
    from trainer import evaluate
    from trainer.trained_model_config import EvaluateConfig

    return evaluate.main(EvaluateConfig(model_dir=config.model_dir, data_dir=config.data_dir, checkpoint=checkpoint))


def test_training_that_only_harms_leaves_the_regression(tf, whole_series, tmp_path):
    """Its error is that of the baseline of evaluation, to rounding; the best weights are those of step 0."""
    harm = ["--optimizer=sgd", "--learning_rate=3", "--schedule=constant", "--train_steps=6", "--evaluate_every_steps=3"]
    config = train_config(whole_series, tmp_path / "m", "--linear_skip=add", *harm)
    result = train(config)
    lines = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    validated = {line["step"]: line["validation_mse"] for line in lines if "validation_mse" in line}
    assert sorted(validated) == [0, 3, 6] and validated[0] < validated[3]
    assert result["best"] == {"step": 0, "score": validated[0]}
    scores = evaluated(config)
    assert scores["step"] == 0
    np.testing.assert_allclose(scores["metrics"]["mse"], scores["baselines"]["ridge"]["mse"], rtol=1e-5)


def test_a_resumed_run_takes_the_regression_from_its_checkpoint(tf, whole_series, tmp_path, caplog):
    caplog.set_level(logging.INFO)

    def config(name, steps):
        return train_config(whole_series, tmp_path / name, "--linear_skip=add", "--schedule=constant", f"--train_steps={steps}")

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
    with pytest.raises(DataError, match=r"--linear_skip: no window of .* has all its targets; leave it out, or fill the gaps"):
        train(train_config(data, tmp_path / "m", "--linear_skip=add", "--horizon=12"))

"""Series of counts, and forecasters of them."""

import numpy as np
import pytest
from series_runs import prepare_csv, train_config

from trainer.cli import flags
from trainer.tasks.configurations import EvaluateConfig

OUTPUTS = ["quantiles", "normal", "student_t", "negative_binomial"]


def write_counts(path, rows=600, bad=None):
    random = np.random.default_rng(0)
    mean = 8 + 6 * np.sin(2 * np.pi * np.arange(rows) / 24)
    values = random.negative_binomial(5, 5 / (5 + mean[:, None] * [1, 3])).astype(float)
    if bad is not None:
        values[450, 1] = bad
    lines = [f"2021-01-{1 + row // 24:02d} {row % 24:02d}:00:00,{a:g},{b:g}" for row, (a, b) in enumerate(values)]
    path.write_text("date,a,b\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    directory = tmp_path_factory.mktemp("counts")
    return prepare_csv(write_counts(directory / "counts.csv"), directory / "data", "--splits=400,100,100")


def built(data, tmp_path, *options):
    import keras

    from trainer.tasks.datasets import read
    from trainer.tasks.registry import task_for

    keras.utils.set_random_seed(0)
    task = task_for(train_config(data, tmp_path / "model", *options), read(str(data)))
    model = task.objective.build_model("float32")
    task.objective.build_variables(model)
    return task, model


def evaluated(task, model, data, *options):
    return task.evaluate(
        model, flags.parse(EvaluateConfig, ["--model_dir=m", f"--data_dir={data}", "--batch_size=64", *options])
    ).scores

"""A run traces each of its functions once, however many inner loops, validations and saves it has."""

from collections import Counter
from typing import Any

import pytest
from pair_runs import config_for as pair_config
from pair_runs import pair_data  # noqa: F401 (a fixture)
from series_runs import train_config
from text_runs import config_for as text_config
from text_runs import text_data  # noqa: F401 (a fixture)

from trainer.tasks.datasets import read

RUN = ["--train_steps=24", "--evaluate_every_steps=6", "--save_every_steps=8", "--strategy=one_device"]


def traces_of(config, monkeypatch) -> Counter:
    """How often each function was traced over a whole run, by name."""
    from tensorflow.python.eager.polymorphic_function import tracing_compilation

    from trainer.training.preemption import Preemption
    from trainer.training.run import train
    from trainer.training.supervisor import Heartbeat

    counts: Counter = Counter()
    create = tracing_compilation._create_concrete_function

    def counted(function_type, type_context, func_graph, tracing_options):
        counts[tracing_options.name] += 1
        return create(function_type, type_context, func_graph, tracing_options)

    monkeypatch.setattr(tracing_compilation, "_create_concrete_function", counted)
    with Preemption() as preemption:
        result = train(config, read(config.data_dir), None, preemption, Heartbeat())
    assert result["step"] == 24 and result["startup_seconds"] > 0
    return counts


def check(counts: Counter) -> None:
    assert counts["inner_loop"] == 1
    assert counts["_validation_step"] == 1
    often = {name: count for name, count in counts.items() if count > 1 and not name.startswith("Dataset_")}
    assert not often, "traced more than once"


@pytest.mark.parametrize("options", [[], ["--segment_length=1", "--num_layers=2", "--dropout=0.1"]])
def test_forecast(tf, small_dataset, tmp_path, monkeypatch, options):
    check(traces_of(train_config(small_dataset, tmp_path / "m", *RUN, *options), monkeypatch))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_language_model(tf, text_data, tmp_path, monkeypatch, cell):  # noqa: F811
    check(traces_of(text_config(text_data, tmp_path / "m", *RUN, f"--cell={cell}", "--dropout=0.1"), monkeypatch))


def test_pairs_of_many_shapes(tf, pair_data, tmp_path, monkeypatch):  # noqa: F811
    from trainer.tasks.registry import task_for

    config = pair_config(pair_data, tmp_path / "m", *RUN, "--best_metric=exact_match")
    task: Any = task_for(config, read(config.data_dir))
    assert len(task.data.batches("train").shapes) > 1
    check(traces_of(config, monkeypatch))

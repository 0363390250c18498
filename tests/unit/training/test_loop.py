"""When a run comes back to the host, validates, saves and ends."""

import pytest

from trainer.cli import flags
from trainer.tasks.configurations import TrainConfig


def plan(*arguments: str, examples: int = 100):
    from trainer.training.loop import RunLength

    config = flags.parse(TrainConfig, ["--data_dir=d", "--model_dir=m", "--batch_size=16", *arguments])
    return RunLength.of(config, examples, lambda count: -(-count // 16))


def test_epochs_become_steps_and_count_every_example():
    made = plan("--epochs=2.5")
    assert (made.total_examples, made.total_steps) == (250, 16)
    assert made.evaluate_every == made.save_every == 7  # once an epoch
    assert not made.is_over(15, 0.0) and made.is_over(16, 0.0)


def test_the_host_is_asked_where_there_is_something_to_do():
    made = plan("--train_steps=100", "--evaluate_every_steps=30", "--save_every_steps=20")
    stops, step = [], 0
    while step < 100:
        step = made.next_stop(step, extra=(9, 12))
        stops.append(step)
    assert stops == [9, 12, 20, 30, 40, 60, 80, 90, 100]


def test_progress_by_steps_does_not_depend_on_the_inner_loops():
    made = plan("--train_steps=50")
    assert made.progress(10, 3.0, 0.1) == made.progress(40, 9.0, 0.2)


def test_progress_by_the_clock_reaches_one_with_the_budget():
    made = plan("--train_seconds=60")
    line = made.progress(100, 45.0, 0.5)
    assert line.at_anchor + (130 - line.anchor) * line.slope == pytest.approx(1.0)
    assert made.total_steps is None and made.is_over(3, 60.0) and not made.is_over(10**6, 59.9)


def test_lines_of_steps_that_are_taken_again_are_dropped(tmp_path):
    from trainer.training.reporting import _drop_lines_after

    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2, "validation_mse": 1}\n{"step": 3}\n{"ste')
    _drop_lines_after(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 2, "validation_mse": 1}\n'

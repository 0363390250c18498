"""A killed run, restarted, ends with the same bytes as one that was never killed."""

import json
import signal
import subprocess

import pytest
from commands import call
from runs import losses, start_and_stop, weights
from series_runs import train_config

from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, EXIT_DONE, EXIT_RESTART


def run(config) -> subprocess.CompletedProcess:
    return call("trainer.train", *flags.to_arguments(config))


OPTIONS = [
    "--train_steps=200",
    "--save_every_steps=40",
    "--evaluate_every_steps=50",
    "--dropout=0.3",
    "--num_layers=2",
    "--batch_size=64",
    "--units=32",
]


@pytest.mark.parametrize("number, devices", [(signal.SIGKILL, 1), (signal.SIGTERM, 2)])
def test_stopped_and_restarted_gives_the_same_bytes(tf, small_dataset, tmp_path, number, devices):
    options = [*OPTIONS, f"--devices_per_worker={devices}"]
    straight = train_config(small_dataset, tmp_path / "straight", *options)
    done = run(straight)
    assert done.returncode == EXIT_DONE, done.stderr
    broken = train_config(small_dataset, tmp_path / "broken", *options)
    code = start_and_stop(broken, number, after_step=90)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else EXIT_RESTART)
    again = run(broken)
    assert again.returncode == EXIT_DONE, again.stderr
    result, first = json.loads(again.stdout.splitlines()[-1]), json.loads(done.stdout.splitlines()[-1])
    # the checkpoint of step 80 may still be on its way when the process is killed
    first_kept = 40 if number == signal.SIGKILL else 90
    assert first_kept <= result["resumed_from"] < 200 and result["step"] == 200
    assert result["best"] == first["best"]
    assert weights(tf, broken.model_dir) == weights(tf, straight.model_dir)
    assert losses(broken.model_dir) == losses(straight.model_dir)
    assert list(losses(broken.model_dir)) == list(range(1, 201))


def test_early_stopping_state_survives(tf, small_dataset, tmp_path):
    """A rate of nearly zero never improves after the first validation; patience is counted across restarts."""
    options = ["--learning_rate=1e-30", "--evaluate_every_steps=5", "--early_stop_patience=4", "--schedule=constant"]
    first = run(train_config(small_dataset, tmp_path / "m", *options, "--train_steps=15"))
    assert json.loads(first.stdout.splitlines()[-1])["finished"] == "budget spent", first.stderr
    second = json.loads(
        run(train_config(small_dataset, tmp_path / "m", *options, "--train_steps=500")).stdout.splitlines()[-1]
    )
    assert second["step"] < 60 and second["finished"].startswith("no better mse in 4")
    third = json.loads(
        run(train_config(small_dataset, tmp_path / "m", *options, "--train_steps=500")).stdout.splitlines()[-1]
    )
    assert (third["step"], third["resumed_from"], third["loss"]) == (second["step"], second["step"], None)


def test_another_configuration_is_refused_with_every_difference(small_dataset, tmp_path):
    assert run(train_config(small_dataset, tmp_path / "m")).returncode == EXIT_DONE
    done = run(train_config(small_dataset, tmp_path / "m", "--units=9", "--batch_size=32", "--train_steps=30"))
    assert done.returncode == EXIT_CONFIG
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 2 and "--units=9 differs" in errors[0] and "--batch_size=32 differs" in errors[1]
    assert "which has 8" in errors[0]


def test_the_flags_of_a_run_repeat_it(small_dataset, tmp_path):
    assert run(train_config(small_dataset, tmp_path / "m", "--units=5")).returncode == EXIT_DONE
    arguments = [f"--flagfile={tmp_path}/m/flags.txt", f"--model_dir={tmp_path}/n"]
    assert call("trainer.train", *arguments).returncode == EXIT_DONE
    assert losses(tmp_path / "m") == losses(tmp_path / "n")

"""Two real workers under `launch.local`: killed, frozen or missing, the group is soon back in training and loses nothing."""

import os
import signal
from pathlib import Path

import launched_run
import pytest
from conftest import prepare_csv, write_series_csv
from launched_run import LaunchedRun

BACK_WITHIN_SECONDS = 30.0
STEPS = 400
FLAGS = [
    "--time_features",
    "--lookback=24",
    "--horizon=6",
    "--num_layers=2",
    "--units=32",
    "--dropout=0.3",
    "--batch_size=64",
    f"--train_steps={STEPS}",
    "--evaluate_every_steps=200",
    "--save_every_steps=20",
    "--peer_timeout_seconds=8",
]


@pytest.fixture(scope="module")
def flags_of_run(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("faults")
    csv = write_series_csv(directory / "series.csv", 2000)
    data = prepare_csv(csv, directory / "data", "--splits=1800,100,100", "--num_shards=4")
    return [*FLAGS, f"--data_dir={data}"]


@pytest.fixture(scope="module")
def quiet_losses(flags_of_run, tmp_path_factory) -> list[float]:
    """The losses of a run that nothing happens to."""
    directory = tmp_path_factory.mktemp("quiet")
    with LaunchedRun(directory, flags_of_run) as run:
        code, result = run.finish(90)
    assert code == 0 and result["step"] == STEPS, "\n".join(run.log)
    return launched_run.losses(directory)


def fault(run: LaunchedRun, worker: int, number: int) -> None:
    os.kill(run.starts[-1].processes[worker], number)


def assert_back_and_bit_equal(run: LaunchedRun, directory: Path, quiet: list[float]) -> None:
    seconds = run.wait(lambda: run.trains_again(starts=2), timeout_seconds=90)
    assert seconds < BACK_WITHIN_SECONDS, "\n".join(run.log)
    code, result = run.finish(90)
    assert code == 0 and result["step"] == STEPS, "\n".join(run.log)
    assert len(run.starts) == 2
    assert launched_run.losses(directory) == quiet


@pytest.mark.parametrize("worker, number", [(1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_a_worker_lost_in_training(flags_of_run, quiet_losses, tmp_path, worker, number):
    with LaunchedRun(tmp_path, flags_of_run, restarts=1) as run:
        run.wait(lambda: run.step() >= STEPS // 4, timeout_seconds=90)
        fault(run, worker, number)
        assert_back_and_bit_equal(run, tmp_path, quiet_losses)
    assert run.starts[1].resumed_from >= STEPS // 8


def test_a_worker_that_never_comes(flags_of_run, quiet_losses, tmp_path):
    with LaunchedRun(tmp_path, flags_of_run, restarts=1) as run:
        run.wait(lambda: bool(run.starts) and 1 in run.starts[0].processes, timeout_seconds=30)
        fault(run, 1, signal.SIGSTOP)  # long before it has imported TensorFlow
        assert_back_and_bit_equal(run, tmp_path, quiet_losses)
    assert run.starts[1].resumed_from == 0

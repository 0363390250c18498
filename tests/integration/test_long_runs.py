"""What is done thousands of times leaves nothing behind: no thread, no open file, no object, no temporary file."""

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from launched_run import LaunchedRun, family
from process_use import use_of
from series_runs import train_config, write_series_csv

from trainer.cli import flags

PATIENCE_SECONDS = 300.0
# of Python's objects a repetition: what TensorFlow's caches still take then; an object with a few fields is more
BLOCKS = 3.0


def test_two_workers_keep_their_threads_through_a_thousand_steps(small_dataset, tmp_path):
    quick = [
        "--lookback=24",
        "--horizon=6",
        "--units=8",
        "--batch_size=16",
        "--train_steps=1000000",
        "--schedule=constant",
    ]
    options = [
        f"--data_dir={small_dataset}",
        *quick,
        "--evaluate_every_steps=150",
        "--save_every_steps=150",
        "--keep_checkpoints=2",
    ]
    environ = {"TMPDIR": str(tmp_path / "tmp")}
    with LaunchedRun(tmp_path / "model", options, environ=environ) as run:
        run.wait(lambda: run.step() >= 200, PATIENCE_SECONDS)
        trainers = [family(process)[-1] for process in run.starts[0].processes.values()]
        before = [use_of(trainer, tmp_path / "tmp") for trainer in trainers]
        run.wait(lambda: run.step() >= 1000, PATIENCE_SECONDS)
        after = [use_of(trainer, tmp_path / "tmp") for trainer in trainers]
        run.process.send_signal(signal.SIGTERM)
        code, _ = run.finish(PATIENCE_SECONDS)
    assert code == 75 and len(run.starts) == 1, run.log
    for first, last in zip(before, after):
        assert abs(last["threads"] - first["threads"]) <= 5, (before, after)
        assert abs(last["files"] - first["files"]) <= 3 and last["temporary"] == first["temporary"], (before, after)


def stays_flat(repeat: Callable[[int], object], times: int, blocks: float = BLOCKS) -> None:
    """Calls `repeat` so many times; after the first half nothing that this process uses may grow with them."""
    temporary = Path(tempfile.gettempdir())
    for number in range(times // 2):
        repeat(number)
    before, few_blocks = _use(temporary)
    for number in range(times // 2, times):
        repeat(number)
    after, more_blocks = _use(temporary)
    assert abs(after["threads"] - before["threads"]) <= 5, (before, after)
    assert abs(after["files"] - before["files"]) <= 3 and after["temporary"] <= before["temporary"] + 3, (before, after)
    assert more_blocks - few_blocks < blocks * (times - times // 2), f"{more_blocks - few_blocks} blocks more"


def _use(temporary: Path) -> tuple[dict[str, float], int]:
    gc.collect()
    return use_of(os.getpid(), temporary), sys.getallocatedblocks()


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture(scope="module")
def trained(tf, small_dataset, tmp_path_factory):
    """A run of a few steps: its configuration, and its export."""
    from trainer import export
    from trainer.tasks.configurations import ExportConfig
    from trainer.training.preemption import Preemption
    from trainer.training.start import start

    directory = tmp_path_factory.mktemp("trained")
    config = train_config(small_dataset, directory / "model", "--train_steps=3")
    start(config, Preemption())
    export.main(flags.parse(ExportConfig, [f"--model_dir={config.model_dir}", f"--export_dir={directory}/export"]))
    return config, directory / "export" / "1"


@pytest.fixture(scope="module")
def stepper(trained):
    from trainer.tasks.datasets import read
    from trainer.tasks.registry import task_for
    from trainer.training.run import build
    from trainer.training.strategy import make_strategy

    config, _ = trained
    return build(task_for(config, read(config.data_dir)), make_strategy(config.device, ["/cpu:0", "/cpu:1"]))


def test_validations(stepper):
    batches = stepper.task.data.evaluation_batches("validation", 64)
    stays_flat(lambda number: stepper.validate(batches, 64), 200, blocks=5.0)


def test_checkpoints(stepper, tmp_path):
    from trainer.training.checkpoint import Checkpoints, LoopState

    checkpoints = Checkpoints(str(tmp_path), stepper.model, stepper.optimizer, LoopState(), keep=2)

    def save(number: int) -> None:
        stepper.optimizer.step.assign(np.int64(number + 1))
        checkpoints.save([np.full([4, 5], number, np.float32)])
        checkpoints.wait()

    stays_flat(save, 300, blocks=8.0)  # garbage of the writing thread comes and goes: some 800 blocks either way
    checkpoints.close()


def test_reports(tmp_path):
    """A Python number that becomes a tensor is never forgotten by TensorFlow: four of them a report were 3 KB."""
    from trainer.training.reporting import Report

    report = Report(str(tmp_path), 0, 0.0, 1000000, None)
    numbers = np.random.default_rng(0).random([2000, 4, 1])
    stays_flat(
        lambda number: report.steps(
            number, numbers[number, 0], numbers[number, 1], numbers[number, 2], float(numbers[number, 3, 0])
        ),
        1000,
        blocks=0.5,
    )
    report.close()


def test_requests_to_an_export(tf, trained):
    _, path = trained
    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    values = np.random.default_rng(0).normal(10, 1, [4, 24, 2]).astype(np.float32)
    times = np.arange(24)[None] * 3600 + np.zeros([4, 1], np.int64)

    def request(number: int) -> None:
        size = number % 4 + 1
        function(values=tf.constant(values[:size]), times=tf.constant(times[:size]))["forecast"].numpy()

    stays_flat(request, 500)


def test_batches_of_predict(trained, tmp_path):
    from trainer.saved_model.loaded import load, read_contract
    from trainer.tasks.forecast import predictions as forecast_predictor

    _, path = trained
    contract = read_contract(path)
    history = str(write_series_csv(tmp_path / "history.csv", 30))
    batches = forecast_predictor.predict(load(str(path), contract), contract, [history] * 2000, batch_size=1)
    stays_flat(lambda number: next(batches), 2000)

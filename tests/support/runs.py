"""Runs of the trainer, and what they left behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from commands import ROOT

from trainer.cli import flags
from trainer.tasks.configurations import TrainConfig
from trainer.tasks.datasets import read


def quick_config(data_dir, model_dir, quick: Sequence[str], more: Sequence[str]) -> TrainConfig:
    """A run with the flags `more`, and those of `quick` that they do not replace."""
    given = {argument.split("=")[0] for argument in more}
    base = [argument for argument in quick if argument.split("=")[0] not in given]
    return flags.parse(TrainConfig, [f"--data_dir={data_dir}", f"--model_dir={model_dir}", *base, *more])


def weights(tf, model_dir) -> dict[str, bytes]:
    """Every array of the newest checkpoint, but the counters of the clock."""
    path = tf.train.latest_checkpoint(str(Path(model_dir) / "checkpoints"))
    reader = tf.train.load_checkpoint(path)
    names = [
        name
        for name in reader.get_variable_to_shape_map()
        if not name.startswith("loop") and "save_counter" not in name
    ]
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


def losses(model_dir) -> dict[int, float]:
    lines = [json.loads(line) for line in (Path(model_dir) / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert len(steps) == len(set(steps)), "a step is reported twice"
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def start_and_stop(config, number: signal.Signals, after_step: int) -> int:
    """Starts a run, sends it a signal once it has written of `after_step`, and gives its exit code."""
    command = [sys.executable, "-m", "trainer.train", *flags.to_arguments(config)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = Path(config.model_dir) / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and f'"step": {after_step},' in metrics.read_text():
            break
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(60)


def losses_of(tf, config, devices, steps):
    from trainer.tasks.registry import task_for
    from trainer.training.run import build
    from trainer.training.step import Progress
    from trainer.training.strategy import make_strategy

    task = task_for(config, read(config.data_dir))
    stepper = build(task, make_strategy(config.device, devices))
    batches = iter(task.data.training_batches(0, None))
    state = stepper.initial_state(config.budget.batch_size)
    table, _ = stepper.inner_loop(batches, tf.constant(steps), state, *Progress(0, 0.0, 1 / steps).tensors())
    return *table.numpy().T[:3], stepper


ONE, TWO = ["/cpu:0"], ["/cpu:0", "/cpu:1"]

"""SIGTERM at a random moment, many times in a row: is a step lost, is a checkpoint broken?

    python benchmarks/sigterm.py [--rounds=50] [--seed=0] [--strategies=one_device,mirrored]

One run for each strategy is started again and again on one model directory, and gets SIGTERM up to some seconds after
its start: while Python starts, TensorFlow is imported, weights are restored, steps are compiled or taken, checkpoints
are written. After every round the exit code must be 75, every checkpoint readable in full, and the newest one that of
the last step which was reported. In the end the losses of all steps must be those of a run that was never stopped, to
the bit. Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launched_run import METRICS_FILE, ROOT, losses, prepare
from results import machine, table, write_section
from tqdm import tqdm

FLAGS = ["--cell=gru", "--units=128", "--dropout=0.1", "--batch_size=32", "--sequence_length=32", "--schedule=constant"]
FLAGS += ["--train_steps=1000000", "--save_every_steps=50", "--evaluate_every_steps=200"]
EARLIEST_SECONDS = 0.3  # before that Python itself is not up, and SIGTERM ends it as it would any program
LATEST_SECONDS = 14.0
LEAVE_SECONDS = 60.0
RESTART = 75


@dataclass
class Rounds:
    """What the rounds of one strategy showed."""

    wrong_codes: list[int] = field(default_factory=list)
    lost_steps: int = 0
    broken_checkpoints: int = 0
    before_training: int = 0
    leave_seconds: list[float] = field(default_factory=list)
    steps: int = 0


def start(model_dir: Path, flags: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainer.train", f"--model_dir={model_dir}", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, errors="replace")


def rounds(model_dir: Path, flags: list[str], count: int, seed: int) -> Rounds:
    chosen = random.Random(seed)
    found = Rounds()
    for _ in tqdm(range(count), file=sys.stderr, disable=not sys.stderr.isatty()):
        process = start(model_dir, flags)
        time.sleep(chosen.uniform(EARLIEST_SECONDS, LATEST_SECONDS))
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        _, log = process.communicate(timeout=LEAVE_SECONDS)
        found.leave_seconds.append(time.monotonic() - sent)
        if process.returncode != RESTART:
            found.wrong_codes.append(process.returncode)
            sys.stderr.write(log)
        reported = len(losses(model_dir)) if (model_dir / METRICS_FILE).exists() else 0
        found.before_training += reported == found.steps
        saved, broken = checkpoints(model_dir)
        found.broken_checkpoints += broken
        found.lost_steps += reported - saved
        found.steps = reported
    return found


def checkpoints(model_dir: Path) -> tuple[int, int]:
    """The step of the newest checkpoint, 0 where there is none, and how many of all cannot be read in full."""
    import tensorflow as tf

    directory = model_dir / "checkpoints"
    broken = 0
    for index in [*directory.glob("ckpt-*.index"), *directory.glob("best/ckpt-*.index")]:
        try:
            reader = tf.train.load_checkpoint(str(index.with_suffix("")))
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
        except (tf.errors.OpError, ValueError) as error:
            sys.stderr.write(f"{index}: {error}\n")
            broken += 1
    newest = tf.train.latest_checkpoint(str(directory))
    return (int(newest.rpartition("-")[2]) if newest else 0), broken


def straight(model_dir: Path, flags: list[str], steps: int, timeout_seconds: float) -> list[float]:
    """The losses of the first `steps` steps of a run that is stopped only once it has taken them."""
    process = start(model_dir, flags)
    deadline = time.monotonic() + timeout_seconds
    path = model_dir / METRICS_FILE
    while not path.exists() or path.read_bytes().count(b"learning_rate") < steps:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"the run without stops did not reach step {steps}: {process.communicate()[1]}")
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LEAVE_SECONDS)
    return losses(model_dir)[:steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategies", default="one_device,mirrored")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        data = prepare(work / "data", "--task=language_model", "--source=sample")
        for strategy in arguments.strategies.split(","):
            devices = 2 if strategy == "mirrored" else 1
            flags = [*FLAGS, f"--data_dir={data}", f"--strategy={strategy}", f"--devices_per_worker={devices}"]
            found = rounds(work / strategy, flags, arguments.rounds, arguments.seed)
            expected = straight(
                work / f"{strategy}-straight", flags, found.steps, 60 + LATEST_SECONDS * arguments.rounds
            )
            results[strategy] = {
                "rounds": arguments.rounds,
                "before_training": found.before_training,
                "wrong_exit_codes": found.wrong_codes,
                "lost_steps": found.lost_steps,
                "broken_checkpoints": found.broken_checkpoints,
                "steps": found.steps,
                "losses_equal": losses(work / strategy) == expected,
                "leave_seconds_median": statistics.median(found.leave_seconds),
                "leave_seconds_longest": max(found.leave_seconds),
            }
    names = [name.replace("_", " ") for name in next(iter(results.values()))]
    rows = [
        [strategy, *(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values())]
        for strategy, row in results.items()
    ]
    text = table(["strategy", *names], rows)
    print(text)
    write_section(
        "SIGTERM at random moments",
        f"`python benchmarks/sigterm.py --rounds={arguments.rounds}`, on {machine()}.\n\n{text}",
    )
    print(json.dumps(results))


if __name__ == "__main__":
    main()

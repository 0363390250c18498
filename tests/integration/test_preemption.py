"""SIGTERM on one host, from the first moment of the command to a save that takes too long."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from series_runs import train_config

from trainer.cli import flags
from trainer.errors import EXIT_RESTART

ROOT = Path(__file__).parents[2]


def caught(process: subprocess.Popen) -> bool:
    """Whether the process has a handler for SIGTERM."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1]
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def once_caught(process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 30
    while not caught(process) and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.5, 2.0], ids=["imports", "flags", "tensorflow"])
def test_sigterm_while_the_command_starts(small_dataset, tmp_path, delay_seconds):
    arguments = flags.to_arguments(train_config(small_dataset, tmp_path / "m", "--train_steps=1000000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.train", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    once_caught(process)
    time.sleep(delay_seconds)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_RESTART, errors
    assert "Traceback" not in errors


def test_a_second_sigterm_and_the_end_of_the_grace_period_leave_at_once():
    code = """
import time
from trainer.training.preemption import Preemption
with Preemption() as preemption:
    preemption.begin({grace})
    print("begun", flush=True)
    time.sleep(60)
"""
    for grace, signals, said in ((60, 2, "a second time"), (1, 1, "not saved 1 s (--grace_seconds)")):
        process = subprocess.Popen(
            [sys.executable, "-c", code.format(grace=grace)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process.stdout.readline()
        started = time.monotonic()
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == EXIT_RESTART and said in errors
        assert time.monotonic() - started < 10

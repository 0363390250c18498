"""A run of `launch.local`, watched from outside: which processes it has, how far it is, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METRICS_FILE = "metrics.jsonl"


@dataclass
class Start:
    """One start of all workers. Times are those of `time.monotonic`, in seconds."""

    began: float
    metrics_before: int | None  # inode of the metrics file of the start before
    processes: dict[int, int] = field(default_factory=dict)  # worker -> process number
    addresses: dict[int, tuple[str, int]] = field(default_factory=dict)  # worker -> host, port
    resumed_from: int = 0
    trained: float | None = None  # when the first steps of this start were reported


class LaunchedRun:
    """Starts `launch.local` with train flags; `wait` until something has come about, then `finish`."""

    def __init__(
        self,
        model_dir: Path | str,
        train_flags: Sequence[str],
        *,
        workers: int = 2,
        devices: int = 1,
        restarts: int = 0,
        prefix: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        project: Path = ROOT,
    ):
        """Starts it with `environ` beside this process's environment, behind the command `prefix`, in the checkout
        `project`.
        """
        self._metrics = Path(model_dir) / METRICS_FILE
        self.starts: list[Start] = []
        self.log: list[str] = []
        own = [f"--workers={workers}", f"--devices_per_worker={devices}", f"--restarts={restarts}"]
        command = [*prefix, sys.executable, "-m", "launch.local", *own, "--", f"--model_dir={model_dir}", *train_flags]
        self.process = subprocess.Popen(
            command,
            cwd=project,
            env={**os.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> LaunchedRun:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()  # its process group goes with it
        self.process.wait()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if found := re.search(r" worker (\d+) is process (\d+) on (\S+):(\d+)", line):
                if found[1] == "0":
                    self.starts.append(Start(time.monotonic(), self._inode()))
                self.starts[-1].addresses[int(found[1])] = (found[3], int(found[4]))
                self.starts[-1].processes[int(found[1])] = int(found[2])
            elif found := re.match(r"\[worker 0\] .* resumed from step (\d+)", line):
                self.starts[-1].resumed_from = int(found[1])

    def _inode(self) -> int | None:
        return self._metrics.stat().st_ino if self._metrics.exists() else None

    def step(self) -> int:
        """The last step that was reported, by this start or one before; 0 where there is none."""
        try:
            with self._metrics.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - 4096))
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return 0
        return max((int(json.loads(line)["step"]) for line in lines[-5:] if line.startswith(b"{")), default=0)

    def poll(self) -> bool:
        """Notes when the newest start reported its first steps; whether it has."""
        if not self.starts:
            return False
        start = self.starts[-1]
        # A start that resumes writes the metrics anew, without the steps that it will take again.
        if (
            start.trained is None
            and self._inode() not in (None, start.metrics_before)
            and self.step() > start.resumed_from
        ):
            start.trained = time.monotonic()
        return start.trained is not None

    def wait(self, condition: Callable[[], bool], timeout_seconds: float) -> float:
        """Waits until `condition` holds and gives the seconds that took; RuntimeError, with the log's end, if it does
        not come about.
        """
        began = time.monotonic()
        while not (self.poll(), condition())[1]:
            if self.process.poll() is not None or time.monotonic() - began > timeout_seconds:
                raise RuntimeError(
                    f"waited in vain (exit code {self.process.returncode}):\n" + "\n".join(self.log[-40:])
                )
            time.sleep(0.02)
        return time.monotonic() - began

    def trains_again(self, starts: int) -> bool:
        """Whether start number `starts` (from 1), or a later one, has taken steps."""
        return len(self.starts) >= starts and self.starts[-1].trained is not None

    def finish(self, timeout_seconds: float) -> tuple[int, dict[str, Any]]:
        """Waits for the end: the exit code and the last line of stdout (empty where there is none)."""
        assert self.process.stdout is not None
        self.process.wait(timeout_seconds)
        self._reader.join(10)
        lines = self.process.stdout.read().splitlines()
        return self.process.returncode, json.loads(lines[-1]) if lines else {}


def is_listening(address: tuple[str, int]) -> bool:
    """Whether a server takes connections there."""
    with socket.socket() as client:
        return client.connect_ex(address) == 0


def family(process: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    except OSError:
        children = []
    return [process, *(one for child in children for one in family(int(child)))]


def prepare(output_dir: Path, *arguments: str) -> Path:
    """Runs trainer.prepare and gives the dataset's directory."""
    command = [sys.executable, "-m", "trainer.prepare", f"--output_dir={output_dir}", *arguments]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return output_dir


def steps(model_dir: Path) -> list[dict[str, Any]]:
    """The lines of all steps in `metrics.jsonl`, in order; those taken twice stand there once."""
    lines = [json.loads(line) for line in (model_dir / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    taken = [line for line in lines if "loss" in line]
    if [line["step"] for line in taken] != list(range(1, len(taken) + 1)):
        raise ValueError(f"{model_dir / METRICS_FILE} does not have every step once")
    return taken


def losses(model_dir: Path) -> list[float]:
    """The loss of every step, from the first on."""
    return [float(line["loss"]) for line in steps(model_dir)]


def weights(model_dir: Path) -> dict[str, bytes]:
    """Weights and optimizer of the newest checkpoint, by name, read in full."""
    import tensorflow as tf

    path = tf.train.latest_checkpoint(str(model_dir / "checkpoints"))
    reader = tf.train.load_checkpoint(path)
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("model/", "optimizer/"))]
    return {name: reader.get_tensor(name).tobytes() for name in names}

"""What happens to a run of two workers when one is killed, frozen or missing, and how soon the group trains again.

    python benchmarks/faults.py [--peer_timeout_seconds=12]

One run under `launch.local --restarts` suffers one fault after the other, each once training has gone on for a while.
Told for each are the seconds from the fault to the launch of new processes (for a frozen or missing worker,
`--peer_timeout_seconds` is a part of them) and to the first steps taken again. The losses must be those of a run
without faults, to the bit. Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launched_run import LaunchedRun, Start, family, is_listening, losses, prepare, weights
from results import machine, table, write_section

FLAGS = ["--cell=gru", "--units=64", "--dropout=0.2", "--batch_size=32", "--sequence_length=64", "--train_steps=2500"]
FLAGS += ["--save_every_steps=50", "--evaluate_every_steps=500"]
START_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Recovery:
    """One fault and what followed, in seconds since it."""

    fault: str
    resumed_from: int
    new_processes_seconds: float
    training_seconds: float


def _signal_whole(worker: int, number: int) -> Callable[[Start], None]:
    def act(start: Start) -> None:
        for process in reversed(family(start.processes[worker])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    return act


def _kill(worker: int) -> Callable[[Start], None]:
    return lambda start: os.kill(start.processes[worker], signal.SIGKILL)


def _kill_trainer(worker: int) -> Callable[[Start], None]:
    """Kills what uses the memory, as the kernel does where there is too little."""
    return lambda start: os.kill(family(start.processes[worker])[-1], signal.SIGKILL)


NEVER_COMES = "worker 1 never comes"  # frozen as soon as it is started, long before it reads a flag
HANDSHAKE = "worker 1 hangs in the first handshake"  # frozen as soon as its server takes connections
FAULTS: dict[str, Callable[[Start], None]] = {
    "SIGKILL of worker 1": _kill(1),
    "SIGKILL of worker 0": _kill(0),
    "SIGKILL of the trainer inside worker 1": _kill_trainer(1),
    "SIGSTOP of worker 1": _signal_whole(1, signal.SIGSTOP),
    "SIGSTOP of worker 0": _signal_whole(0, signal.SIGSTOP),
    NEVER_COMES: _signal_whole(1, signal.SIGSTOP),
    HANDSHAKE: _signal_whole(1, signal.SIGSTOP),
}


def run_with_faults(
    model_dir: Path, flags: Sequence[str], faults: Sequence[str], *, steps_between: int, timeout_seconds: float
) -> tuple[list[Recovery], dict[str, Any]]:
    """Runs until the end, with one fault after the other, `steps_between` steps apart.

    Returns:
      What followed each fault, and the last line of the run's stdout.

    Raises:
      RuntimeError: the run did not come back, or ended with another code than 0.
    """
    recoveries = []
    with LaunchedRun(model_dir, flags, restarts=2 * len(faults)) as run:
        run.wait(lambda: run.trains_again(1), timeout_seconds)
        for fault in faults:
            goal = run.step() + steps_between
            run.wait(lambda goal=goal: run.step() >= goal, timeout_seconds)  # type: ignore[misc]
            if fault in (NEVER_COMES, HANDSHAKE):  # while all start again after a kill
                before = len(run.starts)
                FAULTS["SIGKILL of worker 1"](run.starts[-1])
                again = functools.partial(_has_started, run, before)
                run.wait(again, timeout_seconds)
            if fault == HANDSHAKE:
                run.wait(lambda: is_listening(run.starts[-1].addresses[1]), timeout_seconds)
            recoveries.append(_suffer(run, fault, timeout_seconds))
            sys.stderr.write(f"{recoveries[-1]}\n")
        code, result = run.finish(timeout_seconds)
    if code != 0:
        raise RuntimeError(f"the run ended with {code}:\n" + "\n".join(run.log[-60:]))
    return recoveries, result


def _has_started(run: LaunchedRun, starts: int) -> bool:
    """Whether worker 1 runs of a start after so many."""
    return len(run.starts) > starts and 1 in run.starts[-1].processes


def _suffer(run: LaunchedRun, fault: str, timeout_seconds: float) -> Recovery:
    starts, began = len(run.starts), time.monotonic()
    FAULTS[fault](run.starts[-1])
    run.wait(lambda: run.trains_again(starts + 1), timeout_seconds)
    newest = run.starts[-1]
    assert newest.trained is not None
    return Recovery(fault, newest.resumed_from, newest.began - began, newest.trained - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer_timeout_seconds", type=float, default=12.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        data = prepare(work / "data", "--task=language_model", "--source=sample")
        flags = [*FLAGS, f"--data_dir={data}", f"--peer_timeout_seconds={arguments.peer_timeout_seconds:g}"]
        with LaunchedRun(work / "quiet", flags) as quiet:
            code, _ = quiet.finish(600)
        if code != 0:
            raise RuntimeError(f"the quiet run ended with {code}:\n" + "\n".join(quiet.log[-60:]))
        recoveries, result = run_with_faults(
            work / "faults", flags, list(FAULTS), steps_between=200, timeout_seconds=START_TIMEOUT_SECONDS
        )
        same = losses(work / "faults") == losses(work / "quiet"), weights(work / "faults") == weights(work / "quiet")
    rows = [
        [one.fault, f"{one.new_processes_seconds:.1f}", f"{one.training_seconds:.1f}", str(one.resumed_from)]
        for one in recoveries
    ]
    text = table(["fault", "s to new processes", "s to training", "resumed from step"], rows)
    text += f"\n\nLosses of all steps equal those of the quiet run, to the bit: {same[0]}. Weights: {same[1]}."
    print(text)
    head = f"`python benchmarks/faults.py --peer_timeout_seconds={arguments.peer_timeout_seconds:g}`, on {machine()}."
    write_section("Faults", f"{head}\n\n{text}")
    longest = max(one.training_seconds for one in recoveries)
    print(
        json.dumps(
            {"longest_seconds": longest, "losses_equal": same[0], "weights_equal": same[1], "step": result["step"]}
        )
    )


if __name__ == "__main__":
    main()

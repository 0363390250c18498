"""Two workers, one of them killed every minute: how much of the time is still training, and is the result the same?

    python benchmarks/chaos.py [--minutes=10] [--kill_every_seconds=60] [--seed=0]

First a short run that tells how long a step takes, then a quiet run of as many steps as take `--minutes`, then the same
run with SIGKILL of a random worker by the clock. Both must end at the same step, with the same loss at every step and
the same weights, to the bit.

Share of time spent training: the seconds of all steps that counted (a step taken again after a restart counts once),
over the wall time without process starts. A start is everything from the launch of the processes to the end of the
first inner loop, its two steps and the compilation included; detection of a death, the way to the restart, saves and
lost steps all count against the share. Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launched_run import LaunchedRun, losses, prepare, steps, weights
from results import machine, table, write_section
from tqdm import tqdm

FLAGS = [
    "--cell=gru",
    "--units=256",
    "--dropout=0.1",
    "--batch_size=32",
    "--sequence_length=64",
    "--learning_rate=0.002",
]
FLAGS += ["--evaluate_every_steps=1000000"]
CALIBRATION_STEPS = 300
STEPS_OF_FIRST_INNER_LOOP = 1  # trainer/training/loop.py
SECONDS_BETWEEN_SAVES = 3.0  # about sqrt(2 x cost of a save x seconds between kills), which loses least (Young 1974)
START_TIMEOUT_SECONDS = 600.0  # seconds are enough on a quiet machine


@dataclass
class Chaos:
    """What a run with kills showed. Seconds of wall time, from the launch to the last step."""

    wall_seconds: float
    start_seconds: list[float]
    detection_seconds: list[float]  # from a kill to the launch of new processes
    killed: list[int]
    resumed_from: list[int]  # one a start; 0 for the first

    @property
    def counted_seconds(self) -> float:
        return self.wall_seconds - sum(self.start_seconds)

    @property
    def other_restarts(self) -> int:
        return len(self.resumed_from) - 1 - len(self.killed)


def run_with_kills(
    model_dir: Path, flags: list[str], total: int, every_seconds: float, seed: int, timeout_seconds: float
) -> Chaos:
    chosen = random.Random(seed)
    detections: list[float] = []
    killed: list[int] = []
    with (
        LaunchedRun(model_dir, flags, restarts=1000) as run,
        tqdm(total=total, file=sys.stderr, disable=not sys.stderr.isatty()) as bar,
    ):
        run.wait(lambda: run.trains_again(1), START_TIMEOUT_SECONDS)
        began = run.starts[0].began
        due = max(began + every_seconds, time.monotonic() + 1)
        ended = None
        while ended is None:
            _wait_until(run, due, total, bar)
            if run.step() >= total:
                ended = time.monotonic()
                break
            starts, killed_at = len(run.starts), time.monotonic()
            killed.append(chosen.randrange(2))
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.starts[-1].processes[killed[-1]], signal.SIGKILL)
            run.wait(lambda starts=starts: len(run.starts) > starts, START_TIMEOUT_SECONDS)  # type: ignore[misc]
            detections.append(run.starts[starts].began - killed_at)
            run.wait(lambda starts=starts: run.trains_again(starts + 1), START_TIMEOUT_SECONDS)  # type: ignore[misc]
            due = max(due + every_seconds, time.monotonic() + 1)
        code, result = run.finish(timeout_seconds)
    if code != 0 or result["step"] != total:
        raise RuntimeError(f"the run with kills ended with {code}: {result}\n" + "\n".join(run.log[-40:]))
    trained = [start.trained - start.began for start in run.starts if start.trained is not None]
    return Chaos(ended - began, trained, detections, killed, [start.resumed_from for start in run.starts])


def _wait_until(run: LaunchedRun, due: float, total: int, bar: Any) -> None:
    """Waits for the time of the next kill, or for the last step."""

    def reached() -> bool:
        step = run.step()
        bar.update(step - bar.n)
        return step >= total or time.monotonic() >= due

    run.wait(reached, due - time.monotonic() + 60)


def quiet(model_dir: Path, flags: list[str], timeout_seconds: float) -> dict[str, Any]:
    with LaunchedRun(model_dir, flags) as run:
        code, result = run.finish(timeout_seconds)
    if code != 0:
        raise RuntimeError(f"the quiet run ended with {code}:\n" + "\n".join(run.log[-40:]))
    return result


def seconds_of_steps(model_dir: Path, first_inner_loops: list[int]) -> tuple[float, float]:
    """Seconds of all steps without those of first inner loops (which start after these), and of the middle one."""
    apart = {first + offset for first in first_inner_loops for offset in range(1, STEPS_OF_FIRST_INNER_LOOP + 1)}
    seconds = [float(line["seconds"]) for line in steps(model_dir) if line["step"] not in apart]
    return sum(seconds), statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kill_every_seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result, rows = measure(Path(directory), arguments.minutes * 60, arguments.kill_every_seconds, arguments.seed)
    text = table(["", ""], rows)
    print(text)
    command = (
        f"`python benchmarks/chaos.py --minutes={arguments.minutes:g} "
        f"--kill_every_seconds={arguments.kill_every_seconds:g}`"
    )
    write_section("Killed workers", f"{command}, on {machine()}.\n\n{text}")
    print(json.dumps(result))


def measure(work: Path, seconds: float, every_seconds: float, seed: int) -> tuple[dict[str, Any], list[list[str]]]:
    data = prepare(work / "data", "--task=language_model", "--source=sample")
    flags = [*FLAGS, f"--data_dir={data}"]
    quiet(work / "calibration", [*flags, f"--train_steps={CALIBRATION_STEPS}"], 300)
    _, step_seconds = seconds_of_steps(work / "calibration", [0])
    total = max(CALIBRATION_STEPS, round(seconds / step_seconds))
    flags += [f"--train_steps={total}", f"--save_every_steps={max(1, round(SECONDS_BETWEEN_SAVES / step_seconds))}"]
    quiet(work / "quiet", flags, 3 * seconds + 300)
    chaos = run_with_kills(work / "chaos", flags, total, every_seconds, seed, 300)
    equal = weights(work / "chaos") == weights(work / "quiet"), losses(work / "chaos") == losses(work / "quiet")
    training, chaos_step = seconds_of_steps(work / "chaos", chaos.resumed_from)
    result: dict[str, Any] = {
        "steps": total,
        "kills": len(chaos.killed),
        "kills_of_the_chief": chaos.killed.count(0),
        "restarts_without_a_kill": chaos.other_restarts,
        "weights_equal": equal[0],
        "losses_equal": equal[1],
        "share_of_time_training": training / chaos.counted_seconds,
        "wall_seconds": chaos.wall_seconds,
        "process_start_seconds": statistics.mean(chaos.start_seconds),
        "process_starts_share_of_wall": sum(chaos.start_seconds) / chaos.wall_seconds,
        "detection_seconds": statistics.mean(chaos.detection_seconds) if chaos.detection_seconds else None,
        "step_seconds": chaos_step,
        "quiet_step_seconds": seconds_of_steps(work / "quiet", [0])[1],
    }
    detection = (
        f"{result['detection_seconds']:.2f} s, longest {max(chaos.detection_seconds):.2f} s"
        if chaos.detection_seconds
        else "no kill"
    )
    rows = [
        ["steps", str(total)],
        ["kills, of them of the chief", f"{len(chaos.killed)}, {chaos.killed.count(0)}"],
        ["restarts without a kill", str(chaos.other_restarts)],
        [
            "weights and losses equal those of the quiet run, to the bit",
            " and ".join("yes" if same else "NO" for same in equal),
        ],
        ["time spent training, process starts not counted", f"{100 * result['share_of_time_training']:.1f}%"],
        ["a process start (to the end of the first inner loop)", f"{result['process_start_seconds']:.1f} s"],
        ["all process starts together, of the wall time", f"{100 * result['process_starts_share_of_wall']:.1f}%"],
        ["from a kill to new processes", detection],
        ["a step, with kills and without", f"{1000 * chaos_step:.1f} ms, {1000 * result['quiet_step_seconds']:.1f} ms"],
    ]
    return result, rows


if __name__ == "__main__":
    main()

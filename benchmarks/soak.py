"""Long runs stay flat: threads, open files, memory, Python objects, temporary files and the time of a step do not grow.

    python benchmarks/soak.py [--minutes=10] [--layouts=one_device,two_replicas,two_workers]
    [--tasks=forecast,language_model,seq2seq]
                              [--threads=256] [--side_by_side=1] [--project=DIRECTORY]

Every run trains on the embedded sample of its task from a bucket (an emulator over HTTP) and publishes its checkpoints
there, with validation, checkpoints and TensorBoard events every few seconds. `/proc` is read once a second for each
process that trains. After the first minute, and two fifths of the time, in which caches fill, a line is fitted to each
quantity; the run has failed if one rises by more than noise (see slopes.py), if a worker ends, or if one has more than
`--threads` processes and threads (a cgroup where root may make one, else RLIMIT_NPROC). `--project` runs another
checkout, for a comparison. Last line on stdout: one JSON object. The exit code is 1 if anything grew.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from launched_run import METRICS_FILE, ROOT, LaunchedRun, family, prepare
from process_use import use_of
from results import machine, table, write_section
from slopes import Slope, fit
from thread_limit import thread_limit

sys.path.insert(0, str(ROOT / "tests" / "fakes"))
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT))

from bucket_server import BUCKET, BucketServer, bucket_server

LAYOUTS = {"one_device": (1, 1), "two_replicas": (1, 2), "two_workers": (2, 1)}  # workers, devices of each
QUICK = ["--batch_size=16", "--units=16", "--train_steps=1000000000", "--schedule=constant", "--learning_rate=0.0005"]
EVERY = ["--evaluate_every_steps=200", "--save_every_steps=200", "--keep_checkpoints=2"]
TASKS = {
    "forecast": ["--lookback=24", "--horizon=6", "--time_features"],
    "language_model": ["--sequence_length=16"],
    "seq2seq": ["--cell=gru"],
}
# The least growth over the time of the fit that is worth a failure: below it nothing could run out within weeks.
SMALLEST = {"threads": 2.0, "files": 2.0, "temporary": 2.0, "anonymous_mb": 2.0, "blocks": 2000.0, "step_ms": 0.0}
SMALLEST_STEP_SHARE = 0.1  # of a step's time: the machine's own changes are larger than less
UNITS = {
    "threads": "threads",
    "files": "open files",
    "temporary": "temporary files",
    "anonymous_mb": "MB",
    "blocks": "blocks",
    "step_ms": "ms",
}
SETTLED_SECONDS, SETTLED_SHARE = 60.0, 0.4
START_SECONDS = 300.0


@dataclasses.dataclass
class Outcome:
    """One soak. `slopes`: quantity -> line; of several workers that of the one where it rises most."""

    layout: str
    task: str
    seconds: float
    steps: int
    slopes: dict[str, Slope]
    most_threads: int
    problems: list[str]


def soak(layout: str, task: str, seconds: float, threads: int, server: BucketServer, project: Path) -> Outcome:
    workers, devices = LAYOUTS[layout]
    name = f"{layout}-{task}"
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        temporary, blocks = work / "tmp", work / "blocks"
        temporary.mkdir()
        blocks.mkdir()
        environ = {
            "TMPDIR": str(temporary),
            "XDG_CACHE_HOME": str(temporary / "cache"),
            "STORAGE_EMULATOR_HOST": server.url,
            "SOAK_BLOCKS_DIRECTORY": str(blocks),
            "PYTHONPATH": str(Path(__file__).parent / "soak_probe"),
        }
        flags = [f"--data_dir=gs://{BUCKET}/{task}", *QUICK, *EVERY, *TASKS[task]]
        # The launcher itself, its guard and what supervises a worker live within the same limit.
        with (
            thread_limit(name, threads * workers) as limited,
            LaunchedRun(
                f"gs://{BUCKET}/{name}",
                flags,
                workers=workers,
                devices=devices,
                environ=environ,
                project=project,
                prefix=limited,
            ) as run,
        ):
            return watch(run, Outcome(layout, task, seconds, 0, {}, 0, []), temporary, blocks)


def watch(run: LaunchedRun, outcome: Outcome, temporary: Path, blocks: Path) -> Outcome:
    """Samples the run's workers until its time is over, then stops it, and fits."""
    workers = LAYOUTS[outcome.layout][0]
    run.wait(lambda: len(list(blocks.iterdir())) >= workers and metrics_of(temporary) is not None, START_SECONDS)
    processes = [family(process)[-1] for process in run.starts[0].processes.values()]
    metrics, began = metrics_of(temporary), time.monotonic()
    assert metrics is not None
    times: list[float] = []
    rows: list[list[dict[str, float]]] = []
    with contextlib.suppress(OSError):  # a worker is gone: told below, by the exit code
        while time.monotonic() - began < outcome.seconds:
            rows.append([use_of(process, temporary, blocks) for process in processes])
            step, step_ms = last_step(metrics)
            outcome.steps = step or outcome.steps
            rows[-1][0]["step_ms"] = step_ms
            times.append(time.monotonic() - began)
            time.sleep(1)
    run.process.send_signal(signal.SIGTERM)
    code, _ = run.finish(120)
    outcome.seconds = times[-1] if times else 0.0
    if code != 75 or len(run.starts) != 1:
        outcome.problems.append(
            f"ended with {code} after {len(run.starts)} starts and {outcome.steps} steps: " + " / ".join(run.log[-12:])
        )
    outcome.most_threads = int(max((row["threads"] for each in rows for row in each), default=0))
    settled = min(max(SETTLED_SECONDS, SETTLED_SHARE * outcome.seconds), outcome.seconds / 2)
    kept = [index for index, at in enumerate(times) if at >= settled]
    for quantity, smallest in SMALLEST.items():
        lines = []
        for worker in range(workers):
            points = [
                (times[index], rows[index][worker][quantity]) for index in kept if quantity in rows[index][worker]
            ]
            with contextlib.suppress(ValueError):  # too few, as the run ended early
                lines.append(
                    fit(*(np.asarray(part) for part in zip(*points))) if points else fit(np.zeros(0), np.zeros(0))
                )
        if not lines:
            continue
        line = outcome.slopes[quantity] = max(lines, key=lambda each: each.growth)
        least = SMALLEST_STEP_SHARE * line.start if quantity == "step_ms" else smallest
        if line.rises(least):
            outcome.problems.append(f"{quantity} rose from {line.start:.4g} to {line.end:.4g} (t = {line.t:.1f})")
    return outcome


def metrics_of(temporary: Path) -> Path | None:
    """Where the chief stages its metrics; None before they have lines."""
    return next((path for path in temporary.rglob(METRICS_FILE) if path.stat().st_size), None)


def last_step(metrics: Path) -> tuple[int, float]:
    """The newest step in the metrics, and the milliseconds that steps took then."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            lines = [json.loads(line) for line in file.read().split(b"\n")[1:-1]]
    except (OSError, ValueError):
        return 0, float("nan")
    taken = [line for line in lines if "loss" in line]
    return (
        (int(taken[-1]["step"]), 1000 * float(np.median([line["seconds"] for line in taken])))
        if taken
        else (0, float("nan"))
    )


@contextlib.contextmanager
def datasets(tasks: Sequence[str]) -> Iterator[BucketServer]:
    """A bucket with the embedded sample of each task."""
    from trainer.storage import bucket
    from trainer.storage.addresses import Address

    with tempfile.TemporaryDirectory() as made, bucket_server() as server:
        os.environ["STORAGE_EMULATOR_HOST"] = server.url
        for task in tasks:
            directory = prepare(Path(made) / task, f"--task={task}", "--source=sample", "--num_processes=1")
            bucket.upload_all(
                [(path, Address.of(f"gs://{BUCKET}/{task}/{path.name}")) for path in sorted(directory.iterdir())]
            )
            shutil.rmtree(directory)
        yield server


def cells(outcome: Outcome) -> list[str]:
    shown = []
    for quantity in SMALLEST:
        line = outcome.slopes.get(quantity)
        shown.append(
            "-"
            if line is None
            else f"{line.start:.4g} to {line.end:.4g} ({line.per_hour:+.3g} an hour, t {line.t:.1f})"
        )
    verdict = "; ".join(problem.partition(": ")[0] for problem in outcome.problems) or "flat"
    return [
        outcome.layout,
        outcome.task,
        f"{outcome.seconds:.0f}",
        str(outcome.steps),
        *shown,
        str(outcome.most_threads),
        verdict,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--threads", type=int, default=256, help="processes and threads that one worker may have")
    parser.add_argument(
        "--side_by_side", type=int, default=1, help="runs at a time; more than one disturbs the times of steps"
    )
    parser.add_argument("--project", type=Path, default=ROOT, help="the checkout whose trainer runs")
    arguments = parser.parse_args()
    tasks, layouts = arguments.tasks.split(","), arguments.layouts.split(",")
    with datasets(tasks) as server, ThreadPoolExecutor(arguments.side_by_side) as pool:

        def one(pair: tuple[str, str]) -> Outcome:
            outcome = soak(*pair, arguments.minutes * 60, arguments.threads, server, arguments.project)
            sys.stderr.write(
                " | ".join(cells(outcome)) + "\n" + "".join(f"  {problem}\n" for problem in outcome.problems)
            )
            return outcome

        outcomes = list(pool.map(one, [(layout, task) for layout in layouts for task in tasks]))
    return report(outcomes, arguments)


def report(outcomes: list[Outcome], arguments: argparse.Namespace) -> int:
    header = ["layout", "task", "seconds", "steps", *UNITS.values(), "most threads", ""]
    text = table(header, [cells(outcome) for outcome in outcomes])
    print(text)
    if arguments.project == ROOT:
        command = f"`python benchmarks/soak.py --minutes={arguments.minutes:g} --threads={arguments.threads}`"
        how = f", {arguments.side_by_side} runs side by side" if arguments.side_by_side > 1 else ""
        write_section("Long runs", f"{command}{how}, on {machine()}.\n\n{text}")
    failed = [f"{each.layout} {each.task}: {problem}" for each in outcomes for problem in each.problems]
    result: dict[str, Any] = {
        "runs": len(outcomes),
        "flat": sum(1 for each in outcomes if not each.problems),
        "steps": sum(each.steps for each in outcomes),
        "most_threads": max(each.most_threads for each in outcomes),
        "problems": [text[:300] for text in failed],
    }
    print(json.dumps(result))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

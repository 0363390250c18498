"""Whole training jobs side by side: ours, a PyTorch loop and Keras `fit`; throughput and peak memory.

    python benchmarks/train.py [--quick] [--rounds=9] [--torch_python=/path/to/python] [--work_dir=DIR]

Language model: embedding, one LSTM layer of 512, output matrix; 64 lanes of 128 characters of tinyshakespeare.
Forecasting: the network and data of the recipe etth1_96. Adam, gradients clipped at 1, float32. What a loop does
besides (input, update, logs) counts, start-up and compilation do not. Every library takes a few steps in turn. Memory:
the process's peak above what it held with imports and data done, over the whole run (compilation included) and over the
measured steps alone. Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from public_data import SERIES, TEXT, prepared  # noqa: E402
from results import machine, table, write_section  # noqa: E402
from side_by_side import Answer, Measured, Meter, geomean_and_min  # noqa: E402

LIBRARIES = ("ours", "keras", "pytorch")
UNITS, LANES, LENGTH = 512, 64, 128
WINDOW = {"lookback": 96, "horizon": 96, "segment": 24, "units": 128, "batch": 224, "rows": 8640}
FOR_EVER = [
    "--train_steps=1000000000",
    "--evaluate_every_steps=1000000000",
    "--save_every_steps=1000000000",
    "--schedule=constant",
]
RECIPE = f"--flagfile={ROOT}/trainer/recipes/etth1_96.flags"


class Job(NamedTuple):
    unit: str
    units_a_step: int
    steps: int  # in one turn
    quick_steps: int
    flags: tuple[str, ...]


JOBS = {
    "language_model": Job(
        "tokens",
        LANES * LENGTH,
        8,
        2,
        ("--cell=lstm", f"--units={UNITS}", f"--batch_size={LANES}", f"--sequence_length={LENGTH}"),
    ),
    "forecast": Job(
        "windows",
        WINDOW["batch"],
        300,
        60,
        (RECIPE, f"--lookback={WINDOW['lookback']}", f"--segment_length={WINDOW['segment']}"),
    ),
}


def serve(library: str, job: str, data_dir: Path, model_dir: Path) -> None:
    """Runs one job in this process as the other end of the pipe wants."""
    meter = Meter()
    if library == "ours":
        import own_jobs

        own_jobs.run(
            meter,
            [
                *JOBS[job].flags,
                *FOR_EVER,
                f"--data_dir={data_dir}",
                f"--model_dir={model_dir}",
                "--strategy=one_device",
            ],
        )
        return
    if library == "keras":
        import keras_jobs as peer
    else:
        import torch_jobs as peer  # type: ignore[no-redef]
    if job == "forecast":
        peer.forecast(meter, SERIES, **WINDOW)
    else:
        vocabulary = json.loads((data_dir / "dataset.json").read_text(encoding="utf-8"))["text"]["vocabulary_size"]
        peer.language_model(meter, TEXT, vocabulary, UNITS, LANES, LENGTH)


def measure(name: str, pythons: dict[str, str], work_dir: Path, rounds: int, quick: bool) -> dict[str, Any]:
    """Median throughput and peak memory of every library at one job."""
    job, data = JOBS[name], prepared(name, work_dir)
    steps = job.quick_steps if quick else job.steps
    answers: dict[str, list[Answer]] = {library: [] for library in pythons}
    with contextlib.ExitStack() as stack:
        processes = {}
        model_dir = stack.enter_context(tempfile.TemporaryDirectory())
        for library, python in pythons.items():
            command = [
                python,
                __file__,
                f"--serve={library}",
                f"--job={name}",
                f"--data_dir={data}",
                f"--model_dir={model_dir}",
            ]
            processes[library] = stack.enter_context(Measured(library, command))
            answers[library].append(processes[library].take(steps))  # builds and warms up
        for _ in range(rounds):
            for library, process in processes.items():
                answers[library].append(process.take(steps))
    found: dict[str, Any] = {"job": name, "unit": job.unit}
    for library, (first, *rest) in answers.items():
        found[library] = {
            "per_second": statistics.median(job.units_a_step * answer.steps / answer.seconds for answer in rest),
            "peak_mb": max(answer.peak_mb for answer in (first, *rest)),
            "peak_mb_of_steps": max(answer.peak_mb for answer in rest),
        }
    print(json.dumps(found), file=sys.stderr)
    return found


def summary_of(rows: list[dict[str, Any]], peers: list[str]) -> dict[str, Any]:
    """Ratios of throughput (above 1: ours is faster) and of memory (below 1: ours needs less)."""
    summary: dict[str, Any] = {}
    for peer in peers:
        summary[f"against_{peer}"] = geomean_and_min(
            [row["ours"]["per_second"] / row[peer]["per_second"] for row in rows]
        )
        memory = {row["job"]: round(row["ours"]["peak_mb"] / row[peer]["peak_mb"], 3) for row in rows}
        of_steps = {
            row["job"]: round(row["ours"]["peak_mb_of_steps"] / row[peer]["peak_mb_of_steps"], 3) for row in rows
        }
        summary[f"memory_against_{peer}"] = {"max": max(memory.values()), **memory, "of_steps": of_steps}
    return summary


def section(rows: list[dict[str, Any]], summary: dict[str, Any], rounds: int, quick: bool) -> str:
    header = ["job", "library", "per second", "ours is faster by", "peak, MB", "peak of the steps alone, MB"]
    body = []
    for row in rows:
        for library in (library for library in LIBRARIES if library in row):
            it = row[library]
            ratio = "" if library == "ours" else f"{row['ours']['per_second'] / it['per_second']:.2f}"
            memory = [f"{it['peak_mb']:.0f}", f"{it['peak_mb_of_steps']:.0f}"]
            body.append([row["job"], library, f"{it['per_second']:.0f} {row['unit']}", ratio, *memory])
    head = (
        f"`python benchmarks/train.py{' --quick' if quick else ''} --rounds={rounds}`, {time.strftime('%Y-%m-%d')}, "
        f"on {machine()}.\n"
        f"Load before and after: {summary['load']}.\n"
        f"Medians of {rounds} interleaved rounds. Memory is what a process needed above what it held with imports and "
        "data done."
    )
    return f"{head}\n\n{table(header, body)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it works")
    parser.add_argument("--rounds", type=int, default=0, help="turns of every library; 0 is 9, or 2 with --quick")
    parser.add_argument("--torch_python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--work_dir", type=Path, help="where the datasets are made, or lie from an earlier run")
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--job", choices=tuple(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--data_dir", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model_dir", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.job, options.data_dir, options.model_dir)
        return
    rounds = options.rounds or (2 if options.quick else 9)
    pythons = {"ours": sys.executable, "keras": sys.executable, "pytorch": options.torch_python}
    if subprocess.run([options.torch_python, "-c", "import torch"], capture_output=True, check=False).returncode:
        print(
            f"{options.torch_python} has no PyTorch: left out (pip install torch, or give --torch_python)",
            file=sys.stderr,
        )
        del pythons["pytorch"]
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as directory:
        work_dir = options.work_dir or Path(directory)
        rows = [measure(name, pythons, work_dir, rounds, options.quick) for name in JOBS]
    load.append(os.getloadavg()[0])
    summary = summary_of(rows, [library for library in pythons if library != "ours"])
    summary |= {"rows": rows, "load": [round(value, 1) for value in load]}
    write_section("Whole training jobs", section(rows, summary, rounds, options.quick))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

"""The same run on one device, two replicas, two workers, and two workers of two devices each: losses beside each other,
for every task.

    python benchmarks/equality.py [--steps=50]

Embedded samples, one global batch, no dropout. The workers' weights are compared to the bit by the trainer itself at
every save (a difference would end the run with exit code 1). Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from launched_run import LaunchedRun, losses, prepare
from results import machine, table, write_section

LAYOUTS = {"one device": (1, 1), "2 replicas": (1, 2), "2 workers": (2, 1), "2 workers x 2 devices": (2, 2)}
TASKS = {
    "forecast": ["--lookback=48", "--horizon=24", "--cell=lstm", "--num_layers=2"],
    "language_model": ["--cell=gru", "--sequence_length=32", "--ngram_order=3"],
    "seq2seq": ["--cell=gru", "--embedding_size=32", "--label_smoothing=0.1"],
}
COMMON = ["--units=32", "--batch_size=32", "--learning_rate=0.002", "--evaluate_every_steps=25"]


def losses_of(data: Path, work: Path, task: str, layout: str, steps: int) -> np.ndarray:
    """The loss of every step, [steps]."""
    model_dir = work / f"{task} {layout}".replace(" ", "_")
    workers, devices = LAYOUTS[layout]
    given = [f"--data_dir={data}", f"--train_steps={steps}", *COMMON, *TASKS[task]]
    with LaunchedRun(model_dir, given, workers=workers, devices=devices) as run:
        code, _ = run.finish(timeout_seconds=1200)
        if code != 0:
            raise RuntimeError(f"{task} on {layout} ended with {code}:\n" + "\n".join(run.log[-30:]))
    return np.asarray(losses(model_dir))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    steps: int = parser.parse_args().steps
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        for task in TASKS:
            data = prepare(work / f"{task}_data", f"--task={task}", "--source=sample")
            alone, *others = (losses_of(data, work, task, layout, steps) for layout in LAYOUTS)
            for layout, own in zip(list(LAYOUTS)[1:], others):
                assert len(own) == len(alone) == steps
                difference = float(np.abs(own / alone - 1).max())
                worst = max(worst, difference)
                rows.append([task, layout, f"{alone[0]:.6f}", f"{alone[-1]:.6f}", f"{difference:.1e}"])
    shown = table(
        ["task", "layout", "loss of step 1", f"loss of step {steps}", "largest relative difference from one device"],
        rows,
    )
    print(shown)
    write_section("One device, replicas, workers", f"{machine()}. {steps} steps.\n\n{shown}")
    print(json.dumps({"largest_difference": worst, "steps": steps}))


if __name__ == "__main__":
    main()

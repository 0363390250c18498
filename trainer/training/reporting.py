"""What a run tells while it goes on: progress bar, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

METRICS_FILE = "metrics.jsonl"


class Report:
    """Writes one JSON line a step and one a validation; after a resume lines of steps that are taken again are dropped."""

    def __init__(self, model_dir: str, resumed_step: int, total_steps: int | None):
        self._path = Path(model_dir) / METRICS_FILE
        _drop_lines_after(self._path, resumed_step)
        self._lines = self._path.open("a", encoding="utf-8")
        self._board = tf.summary.create_file_writer(str(model_dir))
        self._bar = tqdm(
            total=total_steps, initial=resumed_step, unit="step", file=sys.stderr, disable=not sys.stderr.isatty(), dynamic_ncols=True
        )

    def steps(self, first: int, losses: np.ndarray, norms: np.ndarray, rates: np.ndarray, steps_per_second: float) -> None:
        """Tells of the steps `first`, `first + 1`, ... (numbered from 1)."""
        for offset, (loss, norm, rate) in enumerate(zip(losses, norms, rates)):
            # repr of a float32 as a Python float keeps every bit: runs can be compared by these lines
            self._write({"step": first + offset, "loss": float(loss), "gradient_norm": float(norm), "learning_rate": float(rate)})
        self._lines.flush()
        last = first + len(losses) - 1
        with self._board.as_default(step=last):
            tf.summary.scalar("loss", float(np.mean(losses)))
            tf.summary.scalar("gradient_norm", float(np.mean(norms)))
            tf.summary.scalar("learning_rate", float(rates[-1]))
            tf.summary.scalar("steps_per_second", steps_per_second)
        self._bar.update(len(losses))
        self._bar.set_postfix(loss=f"{np.mean(losses):.4f}", refresh=False)

    def validation(self, step: int, scores: dict[str, float]) -> None:
        self._write({"step": step, **{f"validation_{name}": value for name, value in scores.items()}})
        self._lines.flush()
        with self._board.as_default(step=step):
            for name, value in scores.items():
                tf.summary.scalar(f"validation/{name}", value)
        tqdm.write(f"step {step}: " + ", ".join(f"validation {name} {value:.4f}" for name, value in scores.items()), file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
        self._lines.close()
        self._board.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._lines.write(json.dumps(values) + "\n")


def _drop_lines_after(path: Path, step: int) -> None:
    """Keeps the lines up to `step`: a killed run has written of steps that its last checkpoint does not hold."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # cut off by the kill
            continue
        if entry["step"] <= step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)

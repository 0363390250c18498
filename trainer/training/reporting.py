"""Reports of a run while it goes on: progress bar, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from trainer.cli.progress_line import ProgressLine
from trainer.storage.atomic_file import atomic_file
from trainer.training.run_files import METRICS_FILE

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0


class Report:
    """Writes one JSON line a step and one a validation; after a resume lines of steps that are taken again are
    dropped.
    """

    def __init__(
        self,
        model_dir: str,
        resumed_step: int,
        seconds_before: float,
        total_steps: int | None,
        total_seconds: float | None,
    ):
        """The bar counts steps, or under `--train_seconds` the seconds spent; either way it tells when the run will be
        over.
        """
        self._path = Path(model_dir) / METRICS_FILE
        _drop_lines_after(self._path, resumed_step)
        self._lines = self._path.open("a", encoding="utf-8")
        self._board = tf.summary.create_file_writer(str(model_dir))
        self._by_clock = total_seconds is not None
        self._bar = tqdm(
            total=round(total_seconds) if total_seconds is not None else total_steps,
            initial=round(seconds_before) if self._by_clock else resumed_step,
            unit="s" if self._by_clock else "step",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} s [{elapsed}<{remaining}{postfix}]"
            if self._by_clock
            else None,
        )
        self._seconds = seconds_before
        self._reported_at: float | None = None
        self._open = contextlib.ExitStack()
        if not self._bar.disable:
            self._open.enter_context(logging_redirect_tqdm())  # log lines above the bar, not through it

    def steps(self, first: int, losses: np.ndarray, norms: np.ndarray, rates: np.ndarray, seconds: float) -> None:
        """Tells of the steps `first`, `first + 1`, ... (numbered from 1), which took `seconds` together."""
        for offset, (loss, norm, rate) in enumerate(zip(losses, norms, rates)):
            # repr of a float32 as a Python float keeps every bit: runs can be compared by these lines
            values = {"loss": float(loss), "gradient_norm": float(norm), "learning_rate": float(rate)}
            self._write({"step": first + offset, **values, "seconds": round(seconds / len(losses), 6)})
        self._lines.flush()
        last = first + len(losses) - 1
        values = {"loss": np.mean(losses), "gradient_norm": np.mean(norms), "learning_rate": rates[-1]}
        self._write_events(last, {**values, "steps_per_second": len(losses) / seconds})
        shown = {"loss": f"{np.mean(losses):.4f}"}
        if self._by_clock:
            shown |= {"step": str(last), "step/s": f"{len(losses) / seconds:.1f}"}
        self._bar.set_postfix(shown, refresh=False)
        self._seconds += seconds
        self._bar.update(round(self._seconds) - self._bar.n if self._by_clock else len(losses))
        if self._reported_at is None:  # the first inner loop's time is mostly tracing: its rate tells nothing
            self._reported_at = time.monotonic()
        if self._bar.disable and time.monotonic() - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = time.monotonic()
            logger.info("%s", self._progress(last, float(np.mean(losses)), len(losses) / seconds))

    def _progress(self, step: int, loss: float, rate: float) -> ProgressLine:
        """The text of the bar, for a log without one."""
        total = self._bar.total or 0
        if self._by_clock:
            return ProgressLine(step, None, loss, rate, max(0.0, total - self._seconds))
        return ProgressLine(step, round(total), loss, rate, max(0, total - step) / rate)

    def validation(self, step: int, scores: dict[str, float]) -> None:
        self._write({"step": step, **{f"validation_{name}": value for name, value in scores.items()}})
        self._lines.flush()
        self._write_events(step, {f"validation/{name}": value for name, value in scores.items()})
        tqdm.write(
            f"step {step}: " + ", ".join(f"validation {name} {value:.4f}" for name, value in scores.items()),
            file=sys.stderr,
        )

    def close(self) -> None:
        self._open.close()
        self._bar.close()
        self._lines.close()
        self._board.close()

    def _write_events(self, step: int, values: Mapping[str, float]) -> None:
        """Writes TensorBoard's events, as numpy's numbers: TensorFlow keeps each Python number that it made a tensor
        of.
        """
        with self._board.as_default(step=np.int64(step)):
            for name, value in values.items():
                tf.summary.scalar(name, np.float32(value))

    def _write(self, values: dict[str, Any]) -> None:
        self._lines.write(json.dumps(values) + "\n")


class SilentReport(Report):
    """The report of a worker that is not the chief: the chief tells the same numbers."""

    def __init__(self) -> None:
        pass

    def steps(self, first: int, losses: np.ndarray, norms: np.ndarray, rates: np.ndarray, seconds: float) -> None:
        pass

    def validation(self, step: int, scores: dict[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


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
    with atomic_file(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")

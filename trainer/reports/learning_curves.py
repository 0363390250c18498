"""A run's `metrics.jsonl` as charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.reports.parts import Figure, Section
from trainer.reports.svg_charts import Axes, Line, line_chart

MOST_POINTS = 300


def learning_curves(entries: Sequence[Mapping[str, Any]], score_name: str, higher_is_better: bool) -> Section | None:
    """The loss of training and the validation score that picked the best checkpoint; None of a run that tells no step.

    Args:
      entries: lines of `metrics.jsonl`: `{"step", "loss", "learning_rate", ...}` or `{"step", "validation_NAME", ...}`.
      score_name: validation score that picks the best checkpoint.
      higher_is_better: of that score.
    """
    training = [entry for entry in entries if "loss" in entry]
    validation = [entry for entry in entries if f"validation_{score_name}" in entry]
    if not training:
        return None
    steps, losses = (np.array([entry[name] for entry in training], np.float64) for name in ("step", "loss"))
    width = -(-len(steps) // MOST_POINTS)
    each = "every step" if width == 1 else f"means of {width} steps"
    axes = Axes("step", "training loss", "Training")
    charts = [line_chart([Line("training loss", "s1", *_thinned(steps, losses, width))], axes)]
    caption = f"Training loss of {len(steps):,} steps ({each}), each of its own batch."
    if validation:
        steps, scores = (
            np.array([entry[name] for entry in validation], np.float64) for name in ("step", f"validation_{score_name}")
        )
        best = int(scores.argmax() if higher_is_better else scores.argmin())
        line = Line(score_name, "s0", steps, scores, marks=len(steps) <= MOST_POINTS)
        axes = Axes("step", f"validation {score_name}", "Validation")
        charts.append(line_chart([line], axes, rule=float(steps[best])))
        times = f"{len(steps):,} step{'' if len(steps) == 1 else 's'}"
        caption += (
            f" Validation {score_name} at {times}; the dotted line is the best, {scores[best]:.4g} at step "
            f"{steps[best]:,.0f}."
        )
    return Section("Learning curves", (Figure("", tuple(charts), caption),))


def _thinned(x: np.ndarray, y: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of `width` neighbours: [N] -> [ceil(N / width)]."""
    firsts = np.arange(0, len(x), width)
    counts = np.diff(np.append(firsts, len(x)))
    return np.add.reduceat(x, firsts) / counts, np.add.reduceat(y, firsts) / counts

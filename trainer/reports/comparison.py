"""A chart of a model's error beside those of the baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer.reports.parts import Figure
from trainer.reports.svg_charts import Axes, Line, line_chart

FAR = 3.0  # times as high as the next lower line: then its scale would hide the others


def comparison(title: str, model: Line, baselines: Sequence[Line], axes: Axes, caption: str) -> Figure:
    """The model's line over those of the baselines; a baseline far above the rest leaves the chart at its top, as the
    legend tells.
    """
    highest = {line.label: _highest(line) for line in baselines}
    top = scale_top(_highest(model), list(highest.values()))
    if top is not None:
        axes = dataclasses.replace(axes, top=top)
        caption += (
            " What the legend calls beyond the axis leaves the chart at its top: its scale would hide the other lines."
        )
    beyond = {
        name: f" (beyond the axis, up to {value:,.4g})"
        for name, value in highest.items()
        if top is not None and value > top
    }
    legend = (
        (model.style, model.label),
        *((line.style, line.label + beyond.get(line.label, "")) for line in baselines),
    )
    return Figure(title, (line_chart([*baselines, model], axes),), caption, legend)


def scale_top(model: float, baselines: Sequence[float]) -> float | None:
    """Where the axis ends that shows the model and at least one baseline, from the highest value of each; None where
    all fit.
    """
    shown = model
    for place, value in enumerate(sorted(value for value in baselines if value > model)):
        lower = len(baselines) - sum(other > model for other in baselines) + place  # baselines that are shown already
        if lower and value > FAR * shown:
            return 1.15 * shown
        shown = value
    return None


def _highest(line: Line) -> float:
    return float(np.nanmax(line.y)) if np.isfinite(line.y).any() else 0.0

"""The picture of forecasts: what matplotlib has drawn, and where."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.tasks.forecast.data.csv_series import RawSeries
from trainer.tasks.forecast.data.intervals import Interval
from trainer.tasks.forecast.plot import plot
from trainer.tasks.forecast.predictions import Forecast

HOUR = 3600


def forecast(
    columns: tuple[str, ...], horizon: int, levels: tuple[float, ...] = (), dated: bool = True, gaps: float = 0.0
) -> Forecast:
    random = np.random.default_rng(0)
    values = np.sin(np.arange(100.0) / 4)[:, None] * np.logspace(0, 7, len(columns)) + random.normal(
        0, 0.1, (100, len(columns))
    )
    values[random.random(values.shape) < gaps] = np.nan
    times = 1473663600 + HOUR * np.arange(100) if dated else None
    history = RawSeries(
        "a", columns, values.astype(np.float32), times, Interval(HOUR, "second") if dated else None, "a.csv"
    )
    ahead = np.tile(values[~np.isnan(values).any(1)][-1] if gaps < 1 else np.zeros(len(columns)), (horizon, 1))
    quantiles = ahead[..., None] + np.linspace(-1, 1, len(levels)) if levels else None
    later = 1473663600 + HOUR * np.arange(100, 100 + horizon) if dated else None
    return Forecast(history, ahead, later, quantiles, levels)


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch):
    """What `plot` has closed last."""
    from matplotlib import pyplot

    closed: list[Any] = []
    monkeypatch.setattr(pyplot, "close", closed.append)
    yield lambda: closed[-1]
    monkeypatch.undo()
    pyplot.close("all")


@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize("levels", [(), (0.1, 0.5, 0.9)])
@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("columns", [("a",), ("a", "b", "c", "d", "e")])
def test_the_legend_and_the_texts_lie_beside_the_data(tmp_path: Path, figure, columns, dated, levels, horizon) -> None:
    plot([forecast(columns, horizon, levels, dated)], 24, str(tmp_path / "f.png"))
    drawn = figure()
    (legend,) = drawn.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["history", "forecast", *(["intervals of 80%"] if levels else [])]
    renderer = drawn.canvas.get_renderer()
    boxes = [legend.get_window_extent(renderer)]
    for axis in drawn.axes:
        assert axis.get_legend() is None
        if axis.axison:
            boxes.append(axis.get_tightbbox(renderer))
    for number, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[number + 1 :])
    for axis in drawn.axes[: len(columns)]:
        for side in (axis.xaxis, axis.yaxis):
            labels = [label.get_window_extent(renderer) for label in side.get_ticklabels() if label.get_text()]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(labels))


def test_a_single_step_can_be_seen(tmp_path: Path, figure) -> None:
    plot([forecast(("a",), 1, (0.1, 0.5, 0.9))], 24, str(tmp_path / "f.png"))
    (axis,) = figure().axes
    assert [
        line.get_xydata().shape[0] for line in axis.lines if line.get_marker() == "o" and len(line.get_xydata())
    ] == [1]
    (band,) = axis.collections
    (outline,) = band.get_paths()
    assert np.ptp(outline.vertices[:, 0]) == pytest.approx(1 / 48) and np.ptp(outline.vertices[:, 1]) == pytest.approx(
        2
    )


def test_values_without_neighbours_and_columns_without_values(tmp_path: Path, figure) -> None:
    empty = forecast(("a", "b"), 6, gaps=0.0)
    values = empty.history.values
    values[:, 0] = np.nan
    values[-60::5, 1] = 3
    values[[row for row in range(100) if (row - 40) % 5], 1] = np.nan
    plot([empty], 24, str(tmp_path / "f.png"))
    first, second = figure().axes
    begin, end = (np.datetime64(1473663600 + HOUR * step, "s") for step in (100 - 24, 105))
    for axis in (first, second):
        low, high = axis.get_xlim()
        days = [
            (moment - np.datetime64("1970-01-01T00:00:00", "s")) / np.timedelta64(1, "D") for moment in (begin, end)
        ]
        assert low < days[0] and days[1] < high and high - low < 1.1 * (days[1] - days[0])
    dots = [len(line.get_xydata()) for line in second.lines if line.get_marker() == "o"]
    assert dots == [4]  # in the last 24 steps


def test_names_are_taken_as_they_are_and_long_ones_are_cut(tmp_path: Path, figure) -> None:
    plot([forecast(("price ($) and cost ($)", r"$\frac{$", "x" * 500), 6)], 24, str(tmp_path / "f.png"))
    titles = [axis.get_title(loc="left") for axis in figure().axes if axis.axison]
    assert titles == ["price ($) and cost ($)", r"$\frac{$", "x" * 69 + "…"]

"""Sections of a forecaster's report: forecasts over history, the error by horizon step and by series.

Legend: L lookback steps, H horizon steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from markupsafe import Markup

from trainer.reports.comparison import comparison
from trainer.reports.parts import Figure, Headline, Meaning, Section, Table, ranked_places
from trainer.reports.svg_charts import SMALL, Axes, Band, Line, line_chart
from trainer.tasks.forecast.data import intervals
from trainer.tasks.forecast.data.intervals import Interval
from trainer.tasks.forecast.data.series_slices import SeriesSlice, window_starts
from trainer.tasks.forecast.data.windows import Windows
from trainer.tasks.forecast.evaluation.scoring import Prediction, SeriesScale
from trainer.tasks.forecast.evaluation.window_errors import WindowErrors
from trainer.tasks.forecast.model.quantile_levels import pairs

HISTORY_PER_HORIZON = 2
LEAST_HISTORY = 24  # steps, or the lookback
MOST_SERIES = 40
CALIBRATION = (460, 400)  # pixels
MEANINGS = (
    Meaning(("mse", "mae", "crps", "crps_paths"), "of values standardised by the training split"),
    Meaning(("crps_sum", "coverage_*_sum"), "of their sums over the horizon"),
    Meaning(("mae_raw", "rmse"), "in the units of the data"),
    Meaning(("nd", "weighted_quantile_loss"), "relative to the size of the values"),
    Meaning(("mase",), "relative to repeating the last season in training"),
    Meaning(("smape", "coverage_*"), "percent"),
)


def headline(probabilistic: bool, counted: str = "windows") -> Headline:
    """The score of the summary: of quantiles where the forecast has them."""
    if probabilistic:
        return Headline(
            "weighted_quantile_loss", "Mean weighted quantile loss", counted, higher_is_better=False, meanings=MEANINGS
        )
    return Headline("mse", "Mean squared error (standardised)", counted, higher_is_better=False, meanings=MEANINGS)


@dataclass(frozen=True, eq=False)
class ShownWindow:
    """One window of one series in raw units.

    Attributes:
      series: name and rank of its series.
      title: which window of the series.
      x: `[L + H]` Unix seconds, or steps of which 0 is the last one known.
      values: `[L + H]` history and what really followed, NaN where missing.
      forecast: `[H]`.
      bands: `(share, low [H], high [H])`: the intervals that should hold so large a share of the values, widest first;
        may be empty.
    """

    series: str
    title: str
    x: np.ndarray
    values: np.ndarray
    forecast: np.ndarray
    bands: tuple[tuple[float, np.ndarray, np.ndarray], ...] = ()


def ranked_series(per_series: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """The best, the median and the worst series by `mse`, as (rank, index); each once.

    Only series take part whose windows have half as many scored targets as those of the fullest.
    """
    shares = {entry["series"]: entry["targets"] / entry["windows"] for entry in per_series if entry["mse"] is not None}
    full = [entry for entry in per_series if 2 * shares.get(entry["series"], 0.0) >= max(shares.values(), default=1.0)]
    scored = sorted(full, key=lambda entry: entry["mse"])
    return [(rank, int(scored[place]["series"])) for rank, place in ranked_places(len(scored))]


Predict = Callable[[np.ndarray, Any], Prediction]
"""The number of a window `[1]` and a batch of it alone, as `WindowShape.signature` tells -> its forecast."""


def shown_windows(
    predict: Predict,
    windows: Windows,
    segments: Sequence[SeriesSlice],
    errors: WindowErrors,
    series: Sequence[tuple[str, int]],
    scale: SeriesScale,
) -> list[ShownWindow]:
    """The best, the median and the worst window of each of `series` (as `ranked_series` gives them), forecast again.

    `errors` are those of all of `windows`, which were cut from `segments`.
    """
    lookback, horizon = windows.shape.lookback, windows.shape.horizon
    shown = []
    for series_rank, index in series:
        for window in errors.ranked(index):
            batch = windows.batch(tf.constant([window.number], tf.int64), tf.ones([1]))
            forecast = predict(np.array([window.number]), batch)
            mean, std = scale.mean[index], scale.std[index]
            values = np.concatenate([batch["past"][0, :, window.channel], batch["target"][0, :, window.channel]])
            observed = np.concatenate(
                [batch["past_observed"][0, :, window.channel], batch["target_weight"][0, :, window.channel]]
            )
            segment, target = located(segments, lookback, horizon, window.number)
            x = (
                np.arange(1 - lookback, 1 + horizon)
                if segment.times is None
                else segment.times[target - lookback : target + horizon]
            )
            seen = "" if window.targets == horizon else f", {window.targets:,} of {horizon:,} observed"
            shown.append(
                ShownWindow(
                    scale.names[index]
                    if len(scale.names) == 1
                    else f"{series_rank.capitalize()} series: {scale.names[index]}",
                    f"{window.rank.capitalize()} window: MSE {window.mse:.3g}{seen}",
                    x.astype(np.float64),
                    np.where(observed > 0, values * std + mean, np.nan),
                    forecast.median[0, :, window.channel] * std + mean,
                    ()
                    if forecast.quantiles is None
                    else _bands(forecast.quantiles[0, :, window.channel] * std + mean, forecast.levels),
                )
            )
    return shown


def _bands(quantiles: np.ndarray, levels: tuple[float, ...]) -> tuple[tuple[float, np.ndarray, np.ndarray], ...]:
    """Intervals between `quantiles: [H, Q]` of levels that lie evenly around the median."""
    return tuple((levels[high] - levels[low], quantiles[:, low], quantiles[:, high]) for low, high in pairs(levels))


def located(segments: Sequence[SeriesSlice], lookback: int, horizon: int, number: int) -> tuple[SeriesSlice, int]:
    """The segment of window `number` of all windows of `segments`, and its first target row."""
    for segment in segments:
        starts = window_starts(segment, lookback, horizon)
        if number < len(starts):
            return segment, starts[number]
        number -= len(starts)
    raise ValueError("there are fewer windows")


def forecasts_section(windows: Sequence[ShownWindow], dates: bool, count: int, series: int) -> Section:
    """Charts of the chosen windows, a figure for each series; `count` windows and `series` are how many they were
    chosen from.
    """
    shares = [share for share, _, _ in windows[0].bands]
    legend = [("s1", "observed"), ("s0", "forecast")]
    if shares:
        legend.append(("s0 area", "intervals of " + ", ".join(f"{share:.0%}" for share in shares)))
    caption = (
        f"Chosen from {count:,} windows of {series:,} series by mean squared error (MSE, standardised), leaving out "
        "those with less than "
        "half of the fullest's observed values. "
        "Values are in the units of the data; the forecast begins at the dotted line."
    )
    names = list(dict.fromkeys(window.series for window in windows))
    figures = (
        Figure(
            name,
            tuple(_forecast_chart(window, dates) for window in windows if window.series == name),
            caption,
            tuple(legend),
        )
        for name in names
    )
    return Section("Forecasts", tuple(figures))


def _forecast_chart(window: ShownWindow, dates: bool) -> Markup:
    horizon = len(window.forecast)
    shown = slice(max(0, len(window.values) - horizon - max(HISTORY_PER_HORIZON * horizon, LEAST_HISTORY)), None)
    ahead = window.x[-horizon:]
    bands = [Band(f"{share:.0%} interval", "s0", ahead, low, high) for share, low, high in window.bands]
    lines = [
        Line("observed", "s1", window.x[shown], window.values[shown]),
        Line("forecast", "s0", ahead, window.forecast),
    ]
    x_label = "time (UTC)" if dates else "step (0 is the last one known)"
    axes = Axes(x_label, "value", window.title, SMALL, dates=dates)
    return line_chart(lines, axes, bands, rule=float(window.x[-horizon - 1]))


def horizon_section(
    metrics: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]], interval: Interval | None, count: int
) -> Section:
    """The error at each step of the horizon, of the model and of every baseline."""

    def line(name: str, style: str, scores: Mapping[str, Any], dashed: bool) -> Line:
        errors = np.array([np.nan if value is None else value for value in scores["per_step"]["mse"]], np.float64)
        return Line(name, style, np.arange(1, len(errors) + 1), errors, dashed, marks=len(errors) == 1)

    others = [line(name, f"s{1 + index % 6}", scores, True) for index, (name, scores) in enumerate(baselines.items())]
    reason = "" if interval is None else f" (one is {intervals.describe(interval)})"
    axes = Axes(f"horizon step{reason}", "mean squared error (standardised)", from_zero=True)
    caption = f"Each step's mean over {count:,} windows and all their series with an observed target."
    return Section(
        "Error by horizon step", (comparison("", line("model", "s0", metrics, False), others, axes, caption),)
    )


def calibration_section(metrics: Mapping[str, Any], targets: int) -> Section | None:
    """How often values really lie below each quantile and within each interval; None of a forecast without quantiles.

    Args:
      metrics: with `levels` (a list of `level` and `below`, shares) and `intervals` (`probability`, `coverage`, shares,
        and `width`).
      targets: values counted.
    """
    if not metrics.get("levels"):
        return None
    levels, below = (np.array([entry[name] for entry in metrics["levels"]]) for name in ("level", "below"))
    whole = np.array([0.0, 1.0])
    ideal = Line("calibrated", "muted", 100 * whole, 100 * whole, dashed=True)
    lines = [ideal, Line("model", "s0", 100 * levels, 100 * below, marks=True)]
    chart = line_chart(lines, Axes("level of the quantile (%)", "values up to the quantile (%)", size=CALIBRATION))
    figure = Figure(
        "",
        (chart,),
        f"Share of {targets:,} observed values up to each quantile; forecasts on the dashed line are calibrated.",
        (("s0", "model"), ("muted", "calibrated")),
    )
    rows = tuple(
        (f"{entry['probability']:.0%}", f"{entry['coverage']:.1%}", entry["width"]) for entry in metrics["intervals"]
    )
    table = Table("Intervals", ("should hold", "held", "mean width (standardised)"), rows, f"{targets:,} values.")
    return Section("Calibration", (figure, table))


def series_section(metrics: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]) -> Section:
    """A table of the series, the worst first."""
    scored = [entry for entry in metrics["per_series"] if entry["mse"] is not None]
    order = sorted(scored, key=lambda entry: -entry["mse"])[:MOST_SERIES]
    rows = tuple(
        (
            str(entry["name"]),
            entry["windows"],
            entry["mse"],
            *(scores["per_series"][entry["series"]]["mse"] for scores in baselines.values()),
            entry["mae_raw"],
            entry["rmse"],
        )
        for entry in order
    )
    left = len(scored) - len(order)
    caption = "mse is standardised, mae_raw and rmse are the model's in the units of the data; the worst series first."
    if left:
        caption += f" {left:,} more are in evaluation.json."
    header = ("series", "windows", "mse", *(f"mse of {name}" for name in baselines), "mae_raw", "rmse")
    return Section("Series", (Table("", header, rows, caption),))

"""Backtest: forecasts from rolling origins, each made without any value after its origin, beside the baselines.

Legend: B windows of a batch, H horizon steps, C channels, N origins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.segments import Segment, window_starts
from trainer.errors import ConfigError, Problem
from trainer.evaluation.diebold_mariano import SIGNIFICANCE, diebold_mariano
from trainer.evaluation.forecast_baselines import Baseline
from trainer.evaluation.forecast_evaluation import Prediction, SeriesScale
from trainer.evaluation.forecast_metrics import ForecastMetrics
from trainer.evaluation.report_parts import Figure, Section, Table
from trainer.evaluation.svg_charts import Axes, Line, line_chart

MODEL = "model"


@dataclass(frozen=True)
class Origin:
    """A moment to forecast from.

    Attributes:
      label: time (UTC) of the first forecast step, or its row.
      before: steps between the first forecast step and the end of the split.
    """

    label: str
    before: int


@dataclass(frozen=True)
class Fitted:
    """What forecasts from one origin: the model (a batch as `WindowShape.signature` tells -> forecast) and its rivals."""

    predict: Callable[[Any], Prediction]
    baselines: Mapping[str, Baseline]


def rolling_origins(segments: Sequence[Segment], lookback: int, horizon: int, windows: int, stride: int | None) -> list[Origin]:
    """The origins, the earliest first: the last one is `horizon` steps before the end of the split, each `stride` after the one before.

    Args:
      segments: the split's, of each group.
      lookback: L, steps.
      horizon: H, steps.
      windows: N.
      stride: steps; None is the horizon, so that windows do not overlap.

    Raises:
      ConfigError: so many do not fit into the shortest segment.
    """
    step = stride or horizon
    most = min(-(-len(window_starts(segment, lookback, horizon)) // step) for segment in segments)
    if windows > most:
        told = f"with --stride={step} goes beyond the split, which has room for {most}"
        raise ConfigError([Problem("windows", windows, told, f"use {most} or fewer, or a smaller --stride" if most else "use more data")])
    found = []
    for number in reversed(range(windows)):
        before = horizon + number * step
        first = segments[0].last_target_end - before
        times = segments[0].times
        label = f"row {first:,}" if times is None else str(np.datetime64(int(times[first]), "s")).replace("T", " ")
        found.append(Origin(label, before))
    return found


def numbers_of(segments: Sequence[Segment], lookback: int, horizon: int, origin: Origin) -> np.ndarray:
    """The windows at an origin, one a segment, as numbers among all windows of `segments`: [segments] int64."""
    starts = [window_starts(segment, lookback, horizon) for segment in segments]
    offsets = np.cumsum([0] + [len(start) for start in starts[:-1]])
    places = [segment.last_target_end - origin.before - start.start for segment, start in zip(segments, starts)]
    return np.asarray(offsets + places, np.int64)


def blanked(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The batch without what follows its origin: NaN as targets, so that a forecast that looked at them could not pass as one."""
    target = batch["target"]
    return {**batch, "target": tf.fill(tf.shape(target), np.float32(np.nan)), "target_weight": tf.zeros_like(target)}


def backtest(
    origins: Sequence[Origin],
    fit: Callable[[Origin], Fitted],
    batches: Callable[[Origin], Iterable[Mapping[str, tf.Tensor]]],
    horizon: int,
    stride: int | None,
    scale: SeriesScale,
) -> dict[str, Any]:
    """Scores forecasts from every origin.

    Returns:
      `metrics`, `baselines` (together, as `ForecastMetrics.results`) and `backtest`: `stride`, `origins` (a list of `origin`, `targets`
      and `mse` by name; None where no target is observed) and `diebold_mariano` (baseline -> `Comparison` of squared errors).

    Raises:
      TrainerError: a forecast is no number, because the model has diverged or because it looked past its origin.
    """
    together: dict[str, ForecastMetrics] = {}
    rows = []
    for origin in origins:
        fitted = fit(origin)
        squares: dict[str, float] = {}
        targets = 0
        for batch in batches(origin):
            arrays = {name: value.numpy() for name, value in batch.items()}
            observed = arrays["target_weight"] > 0
            targets += int(observed.sum())
            forecast = fitted.predict(blanked(batch))
            guesses = {MODEL: forecast.mean}
            guesses |= {name: guess(arrays["past"], arrays["past_observed"] > 0) for name, guess in fitted.baselines.items()}
            for name, guess in guesses.items():
                if name not in together:
                    together[name] = ForecastMetrics(horizon, scale.mean, scale.std, scale.mase, scale.names)
                median = forecast.median if name == MODEL else guess
                together[name].add(guess, arrays["target"], observed, arrays["series"], median)
                squares[name] = squares.get(name, 0.0) + float(np.square(guess - arrays["target"], dtype=np.float64)[observed].sum())
        mse = {name: total / targets if targets else None for name, total in squares.items()}
        rows.append({"origin": origin.label, "targets": targets, "mse": mse})
    results = {name: metrics.results() for name, metrics in together.items()}
    step = stride or horizon
    tests = _tests(rows, [name for name in results if name != MODEL], -(-horizon // step))
    return {
        "metrics": results.pop(MODEL),
        "baselines": results,
        "backtest": {"stride": step, "origins": rows, "diebold_mariano": tests},
    }


def _tests(rows: Sequence[Mapping[str, Any]], baselines: Sequence[str], steps: int) -> dict[str, dict[str, Any]]:
    """Compares the model with each baseline on the origins where both have forecast."""
    tests = {}
    for name in baselines:
        pairs = [(row["mse"][MODEL], row["mse"][name]) for row in rows if row["targets"] and name in row["mse"]]
        own, other = np.array(pairs, np.float64).reshape(-1, 2).T
        tests[name] = dataclasses.asdict(diebold_mariano(own, other, steps))
    return tests


def backtest_section(result: Mapping[str, Any], refitted: bool) -> Section:
    """The error from each origin, and what the tests say."""
    found = result["backtest"]
    rows = found["origins"]
    x = np.arange(1, len(rows) + 1)
    names = [MODEL, *result["baselines"]]
    styles = {name: "s0" if name == MODEL else f"s{1 + (index - 1) % 6}" for index, name in enumerate(names)}

    def line(name: str) -> Line:
        losses = np.array([np.nan if row["mse"].get(name) is None else row["mse"][name] for row in rows])
        return Line(name, styles[name], x, losses, dashed=name != MODEL, marks=True)

    axes = Axes("origin", "mean squared error (standardised)", from_zero=True)
    chart = line_chart([line(name) for name in reversed(names)], axes)
    how = "The model was trained anew on the data before each origin." if refitted else "One model forecast from all origins."
    caption = (
        f"{len(rows):,} origins from {rows[0]['origin']} to {rows[-1]['origin']}, {found['stride']:,} steps apart. {how} "
        "No forecast was shown a value after its origin."
    )
    tests = tuple(
        (name, test["mean_difference"], test["origins"], test["lags"], test["statistic"], test["p_value"], test["verdict"])
        for name, test in found["diebold_mariano"].items()
    )
    told = (
        "Diebold-Mariano test of the squared errors with Harvey, Leybourne and Newbold's correction, two-sided; the model is better or "
        f"worse where p is below {SIGNIFICANCE}. Lags are the autocovariances in the variance, as many as windows overlap."
    )
    header = ("model against", "mean difference of mse", "origins", "lags", "statistic", "p", "the model is")
    return Section(
        "Backtest",
        (
            Figure("Error from each origin", (chart,), caption, tuple((styles[name], name) for name in names)),
            Table("Is it really better?", header, tests, told),
        ),
    )

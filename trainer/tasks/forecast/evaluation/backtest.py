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

from trainer.errors import UnfitError
from trainer.reports.comparison import comparison
from trainer.reports.parts import Figure, Section, Table
from trainer.reports.svg_charts import Axes, Line, line_chart
from trainer.tasks.forecast.data.series_slices import SeriesSlice, window_starts
from trainer.tasks.forecast.evaluation.diebold_mariano import SIGNIFICANCE, diebold_mariano
from trainer.tasks.forecast.evaluation.quantile_metrics import QuantileMetrics
from trainer.tasks.forecast.evaluation.scoring import Adjust, Baselines, Prediction, Scores, SeriesScale

MODEL = "model"
QUANTILE_LOSS = "weighted_quantile_loss"
LOSS_NAMES = {"mse": "mean squared error (standardised)", QUANTILE_LOSS: "mean weighted quantile loss"}


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
    """The forecasters of one origin: the model (a batch as `WindowShape.signature` tells -> forecast), its
    calibration, its rivals.
    """

    predict: Callable[[Any], Prediction]
    baselines: Baselines
    adjust: Adjust | None = None


def rolling_origins(
    segments: Sequence[SeriesSlice], lookback: int, horizon: int, windows: int, stride: int | None
) -> list[Origin]:
    """The origins, the earliest first: the last one is `horizon` steps before the end of the split, each `stride` after
    the one before.

    Args:
      segments: the split's, of each group.
      lookback: L, steps.
      horizon: H, steps.
      windows: N.
      stride: steps; None is the horizon, so that windows do not overlap.

    Raises:
      UnfitError: so many do not fit into the shortest segment.
    """
    step = stride or horizon
    most = min(-(-len(window_starts(segment, lookback, horizon)) // step) for segment in segments)
    if windows > most:
        reason = f"with a stride of {step} steps goes beyond the split, which has room for {most}"
        raise UnfitError(windows, reason, f"use {most} or fewer, or a smaller stride" if most else "use more data")
    origins = []
    for number in reversed(range(windows)):
        before = horizon + number * step
        first = segments[0].last_target_end - before
        times = segments[0].times
        label = f"row {first:,}" if times is None else str(np.datetime64(int(times[first]), "s")).replace("T", " ")
        origins.append(Origin(label, before))
    return origins


def numbers_of(segments: Sequence[SeriesSlice], lookback: int, horizon: int, origin: Origin) -> np.ndarray:
    """The windows at an origin, one a segment, as numbers among all windows of `segments`: [segments] int64."""
    starts = [window_starts(segment, lookback, horizon) for segment in segments]
    offsets = np.cumsum([0] + [len(start) for start in starts[:-1]])
    places = [segment.last_target_end - origin.before - start.start for segment, start in zip(segments, starts)]
    return np.asarray(offsets + places, np.int64)


def blanked(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The batch without what follows its origin: NaN as targets, so that a forecast that looked at them could not pass
    as one.
    """
    target = batch["target"]
    return {**batch, "target": tf.fill(tf.shape(target), np.float32(np.nan)), "target_weight": tf.zeros_like(target)}


def backtest(
    origins: Sequence[Origin],
    fit: Callable[[Origin], Fitted],
    batches: Callable[[Origin], Iterable[tuple[np.ndarray, Mapping[str, tf.Tensor]]]],
    horizon: int,
    stride: int | None,
    scale: SeriesScale,
) -> dict[str, Any]:
    """Scores forecasts from every origin; `batches` gives the numbers of its windows `[B]` and a batch of them.

    Returns:
      `metrics`, `baselines` (together, as `Scores.results`) and `backtest`: `stride`, `loss` (the score that is
      compared), `origins` (a list of `origin`, `targets` and `scores`, by name; empty where no target is observed) and
      `diebold_mariano` (baseline -> `Comparison` of the losses).

    Raises:
      TrainerError: a forecast is not a number, because the model has diverged or because it looked past its origin.
    """
    together: dict[str, Scores] = {}
    rows = []
    for origin in origins:
        fitted = fit(origin)
        alone: dict[str, OriginScores] = {}
        for numbers, batch in batches(origin):
            arrays = {name: value.numpy() for name, value in batch.items()}
            observed = arrays["target_weight"] > 0
            forecast = fitted.predict(blanked(batch))
            if fitted.adjust is not None:
                forecast = fitted.adjust(numbers, forecast)
            for name, one in ((MODEL, forecast), *fitted.baselines.forecasts(arrays, numbers, forecast.levels)):
                if name not in together:
                    together[name] = Scores(horizon, scale, forecast.levels)
                together[name].add(one, arrays, observed)
                alone.setdefault(name, OriginScores(horizon, scale, forecast.levels)).add(one, arrays, observed)
        scores_of = {name: scores.results() for name, scores in alone.items()}
        rows.append(
            {
                "origin": origin.label,
                "targets": alone[MODEL].targets,
                "scores": scores_of if alone[MODEL].targets else {},
            }
        )
    results = {name: scores.results() for name, scores in together.items()}
    step, loss = stride or horizon, QUANTILE_LOSS if QUANTILE_LOSS in results[MODEL] else "mse"
    tests = _tests(rows, loss, [name for name in results if name != MODEL], -(-horizon // step))
    return {
        "metrics": results.pop(MODEL),
        "baselines": results,
        "backtest": {"stride": step, "loss": loss, "origins": rows, "diebold_mariano": tests},
    }


class OriginScores:
    """Scores of one forecaster from one origin: `mse`, and of quantiles those of `QuantileMetrics`."""

    def __init__(self, horizon: int, scale: SeriesScale, levels: tuple[float, ...]):
        self._squares, self.targets = 0.0, 0
        self._quantiles = QuantileMetrics(levels, horizon, scale.mean, scale.std, scale.names) if levels else None

    def add(self, forecast: Prediction, arrays: Mapping[str, np.ndarray], observed: np.ndarray) -> None:
        self._squares += float(np.square(forecast.mean - arrays["target"], dtype=np.float64)[observed].sum())
        self.targets += int(observed.sum())
        if self._quantiles is not None and forecast.quantiles is not None:
            self._quantiles.add(forecast.quantiles, arrays["target"], observed, arrays["series"])

    def results(self) -> dict[str, float | None]:
        mse = {"mse": self._squares / self.targets if self.targets else None}
        return mse if self._quantiles is None else mse | self._quantiles.overall()


def _tests(
    rows: Sequence[Mapping[str, Any]], loss: str, baselines: Sequence[str], steps: int
) -> dict[str, dict[str, Any]]:
    """Compares the model with each baseline on the origins where both have forecast."""
    tests = {}
    for name in baselines:
        both = (row["scores"] for row in rows if row["scores"] and name in row["scores"])
        pairs = [(scores[MODEL][loss], scores[name][loss]) for scores in both if scores[MODEL][loss] is not None]
        losses, other = np.array(pairs, np.float64).reshape(-1, 2).T
        tests[name] = dataclasses.asdict(diebold_mariano(losses, other, steps))
    return tests


def backtest_section(result: Mapping[str, Any], refitted: bool) -> Section:
    """The error from each origin, the coverage of intervals, and what the tests say."""
    scores = result["backtest"]
    rows, loss = scores["origins"], scores["loss"]
    names = [MODEL, *result["baselines"]]
    styles = {name: "s0" if name == MODEL else f"s{1 + (index - 1) % 6}" for index, name in enumerate(names)}
    model, *others = (_line(rows, name, loss, name, styles[name]) for name in names)
    how = (
        "The model was trained anew on the data before each origin."
        if refitted
        else "One model forecast from all origins."
    )
    caption = (
        f"{len(rows):,} origins from {rows[0]['origin']} to {rows[-1]['origin']}, {scores['stride']:,} steps apart. "
        f"{how} "
        "No forecast was shown a value after its origin."
    )
    figures = [
        comparison("Error from each origin", model, others, Axes("origin", LOSS_NAMES[loss], from_zero=True), caption)
    ]
    if coverages := [name for name in result["metrics"] if name.startswith("coverage_")]:
        figures.append(_coverage_figure(rows, coverages))
    tests = tuple(
        (
            name,
            test["mean_difference"],
            test["origins"],
            test["lags"],
            test["statistic"],
            test["p_value"],
            test["verdict"],
        )
        for name, test in scores["diebold_mariano"].items()
    )
    reason = (
        f"Diebold-Mariano test of each origin's {LOSS_NAMES[loss]} with Harvey, Leybourne and Newbold's correction, "
        "two-sided; the model "
        f"is better or worse where p is below {SIGNIFICANCE}. Lags are the autocovariances in the variance, as many "
        "as windows overlap."
    )
    header = ("model against", f"mean difference of {loss}", "origins", "lags", "statistic", "p", "the model is")
    return Section("Backtest", (*figures, Table("Is it really better?", header, tests, reason)))


def _line(rows: Sequence[Mapping[str, Any]], name: str, score: str, label: str, style: str) -> Line:
    """A score of one forecaster over the origins, broken where there is none."""
    values = (row["scores"].get(name, {}).get(score) for row in rows)
    y = np.array([np.nan if value is None else value for value in values])
    return Line(label, style, np.arange(1, len(rows) + 1), y, dashed=name != MODEL, marks=True)


def _coverage_figure(rows: Sequence[Mapping[str, Any]], coverages: Sequence[str]) -> Figure:
    """The coverage of the model's intervals from each origin, beside the nominal one."""
    styles = {name: f"s{index % 7}" for index, name in enumerate(coverages)}
    places = np.array([1.0, len(rows)])
    promised = [
        Line("promised", "muted", places, np.full(2, float(name.removeprefix("coverage_"))), dashed=True)
        for name in coverages
    ]
    lines = [
        _line(rows, MODEL, name, f"{name.removeprefix('coverage_')}% interval", styles[name]) for name in coverages
    ]
    chart = line_chart([*promised, *lines], Axes("origin", "values within the interval (%)", from_zero=True))
    legend = (*((styles[name], line.label) for name, line in zip(coverages, lines)), ("muted", "promised"))
    caption = "Of the observed values of each origin; the dashed lines are what was promised."
    return Figure("Coverage from each origin", (chart,), caption, legend)

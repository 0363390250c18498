"""Scores a forecaster and its baselines on the same windows.

Legend: B windows of a batch, H horizon steps, C channels, Q levels of quantiles, S series of the dataset.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.tasks.forecast.data.intervals import Interval
from trainer.tasks.forecast.data.series_slices import SeriesSlice
from trainer.tasks.forecast.evaluation.baselines import Baseline, fit_baselines
from trainer.tasks.forecast.evaluation.path_metrics import PathMetrics
from trainer.tasks.forecast.evaluation.point_metrics import ForecastMetrics, mase_scales
from trainer.tasks.forecast.evaluation.quantile_metrics import QuantileMetrics
from trainer.tasks.forecast.evaluation.recent_quantiles import SEASONS, RecentQuantiles
from trainer.tasks.forecast.model.quantile_levels import MEDIAN

DAY_SECONDS = 86_400
RECENT_NAMES = (f"last_{SEASONS}_seasons", f"last_{SEASONS}_seasons_by_step")  # whatever the season is


@dataclass(frozen=True)
class Season:
    """The shortest season that a calendar suggests: its name and its length in time steps."""

    name: str
    steps: int


def season_of(interval: Interval | None) -> Season | None:
    """The day for data within the day, the week for daily data, the year for monthly; None where the interval fits
    none.
    """
    if interval is None:
        return None
    if interval.unit == "month":
        return Season("year", 12 // interval.count) if 12 % interval.count == 0 and interval.count < 12 else None
    for name, seconds in (("day", DAY_SECONDS), ("week", 7 * DAY_SECONDS)):
        if seconds % interval.count == 0 and seconds > interval.count:
            return Season(name, seconds // interval.count)
    return None


def season_facts(interval: Interval | None) -> dict[str, Any] | None:
    """The season that seasonal baselines repeat, for results: `name` and `steps`."""
    season = season_of(interval)
    return None if season is None else {"name": season.name, "steps": season.steps}


@dataclass(frozen=True)
class SeriesScale:
    """Per series, in the order of `SeriesSlice.series`: names, and what leads back to raw units."""

    names: list[str]
    mean: np.ndarray  # [S]
    std: np.ndarray  # [S]
    mase: np.ndarray  # [S], mean absolute error of the seasonal repetition on the training rows, raw


def series_scale(
    names: list[str], mean: np.ndarray, std: np.ndarray, train: list[SeriesSlice], season: Season | None
) -> SeriesScale:
    """Adds the scale of the MASE (Hyndman and Koehler 2006), taken from the training rows; a season of 1 where there is
    none.
    """
    mase = np.zeros(len(names))
    for segment in train:
        rows = slice(segment.first_target, segment.last_target_end)
        series = list(segment.series)
        raw = segment.values[rows].astype(np.float64) * std[series] + mean[series]
        mase[series] = mase_scales(raw, segment.observed[rows], season.steps if season else 1)
    return SeriesScale(names, mean, std, mase)


def baselines_for(
    train: list[SeriesSlice], validation: list[SeriesSlice], lookback: int, horizon: int, season: Season | None
) -> dict[str, Baseline]:
    """The point baselines by their names: `naive`, and where they exist `seasonal_naive`, `seasonal_mean`, `ridge`."""
    return fit_baselines(train, validation, lookback, horizon, season.steps if season else None)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Forecasts of a batch of windows, in standardised units."""

    mean: np.ndarray  # [B, H, C]: least squared error
    median: np.ndarray  # [B, H, C]: least absolute error; of a point forecast, the same
    quantiles: np.ndarray | None = None  # [B, H, C, Q], not falling along Q; None of a point forecast
    levels: tuple[float, ...] = ()  # of the quantiles
    paths: np.ndarray | None = None  # [N, B, H, C], drawn; None where none were asked for


Adjust = Callable[[np.ndarray, Prediction], Prediction]
"""From the numbers of a batch's windows `[B]` and its forecast to the one that counts."""


def forecast_windows(
    predict: Callable[[Any], Prediction], batches: Iterable[Any], adjust: Adjust | None = None
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, Prediction]]:
    """Forecasts every window of `batches`, in order: what a report or a backtest goes through.

    Args:
      predict: as `calibration.predictor` gives it.
      batches: as `WindowShape.signature` tells, of one size; the last may be filled up with windows of target weight 0.
      adjust: changes forecasts afterwards, such as `RecentConformal.adjust`.

    Yields:
      The batch as arrays, which of its targets are observed (bool [B, H, C]; none of a window that only fills up), and
      the forecast.
    """
    first = 0
    for batch in batches:
        arrays = {name: value.numpy() for name, value in batch.items()}
        forecast = predict(batch)
        numbers = np.arange(first, first + len(forecast.median))
        yield arrays, arrays["target_weight"] > 0, forecast if adjust is None else adjust(numbers, forecast)
        first += len(forecast.median)


@dataclass(frozen=True, eq=False)
class Baselines:
    """The forecasts that a model has to beat."""

    points: dict[str, Baseline]
    recent: RecentQuantiles | None = None  # beside quantile forecasts, where there is a season
    season: Season | None = None

    def forecasts(
        self, arrays: dict[str, np.ndarray], numbers: np.ndarray, levels: tuple[float, ...]
    ) -> Iterator[tuple[str, Prediction]]:
        """Names and forecasts for the windows with these numbers `[B]`; a point forecast is every quantile and the one
        path of itself.
        """
        for name, baseline in self.points.items():
            point = baseline(arrays["past"], arrays["past_observed"] > 0)
            yield (
                name,
                Prediction(
                    point, point, np.broadcast_to(point[..., None], (*point.shape, len(levels))), levels, point[None]
                ),
            )
        if self.recent is not None and self.season is not None:
            middle = levels.index(MEDIAN)
            for name, quantiles in zip(RECENT_NAMES, self.recent.batch(numbers)):
                yield name, Prediction(quantiles[..., middle], quantiles[..., middle], quantiles, levels)


class Scores:
    """Scores of one forecaster: of its points, and of its quantiles and paths where it has any and `levels` and `paths`
    ask for them.
    """

    def __init__(self, horizon: int, scale: SeriesScale, levels: tuple[float, ...], paths: bool = False):
        self._points = ForecastMetrics(horizon, scale.mean, scale.std, scale.mase, scale.names)
        self._quantiles = QuantileMetrics(levels, horizon, scale.mean, scale.std, scale.names) if levels else None
        self._paths = PathMetrics() if paths else None

    def add(self, forecast: Prediction, arrays: dict[str, np.ndarray], observed: np.ndarray) -> None:
        self._points.add(forecast.mean, arrays["target"], observed, arrays["series"], forecast.median)
        if self._quantiles is not None and forecast.quantiles is not None:
            self._quantiles.add(forecast.quantiles, arrays["target"], observed, arrays["series"])
        if self._paths is not None and forecast.paths is not None:
            self._paths.add(forecast.paths, arrays["target"], observed)

    def results(self) -> dict[str, Any]:
        parts = (part.results() for part in (self._quantiles, self._paths) if part is not None)
        return functools.reduce(operator.or_, parts, self._points.results())


def score(
    predict: Callable[[Any], Prediction],
    batches: Iterable[Any],
    horizon: int,
    scale: SeriesScale,
    baselines: Baselines,
    adjust: Adjust | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Metrics of the model and of each baseline over all windows of `batches` (as `WindowShape.signature` tells).

    Raises:
      TrainerError: a forecast is not a number; the text names the window.
    """
    scores_of: dict[str, Scores] = {}
    first = 0
    for arrays, observed, forecast in forecast_windows(predict, batches, adjust):
        numbers = np.arange(first, first + len(observed))
        for name, one in (("", forecast), *baselines.forecasts(arrays, numbers, forecast.levels)):
            if name not in scores_of:
                scores_of[name] = Scores(horizon, scale, forecast.levels, forecast.paths is not None)
            scores_of[name].add(one, arrays, observed)
        first += len(observed)
    results = {name: scores.results() for name, scores in scores_of.items()}
    return results.pop(""), results

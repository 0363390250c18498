"""Scores a forecaster and its baselines on the same windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.data.manifest import Interval
from trainer.data.segments import Segment
from trainer.evaluation.forecast_baselines import Baseline, fit_baselines
from trainer.evaluation.forecast_metrics import ForecastMetrics, mase_scales

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Season:
    """The shortest season that a calendar suggests: its name and its length in time steps."""

    name: str
    steps: int


def season_of(interval: Interval | None) -> Season | None:
    """The day for data within the day, the week for daily data, the year for monthly; None where the interval fits none."""
    if interval is None:
        return None
    if interval.unit == "month":
        return Season("year", 12 // interval.count) if 12 % interval.count == 0 and interval.count < 12 else None
    for name, seconds in (("day", DAY_SECONDS), ("week", 7 * DAY_SECONDS)):
        if seconds % interval.count == 0 and seconds > interval.count:
            return Season(name, seconds // interval.count)
    return None


@dataclass(frozen=True)
class SeriesScale:
    """Per series, in the order of `Segment.series`: names, and what leads back to raw units."""

    names: list[str]
    mean: np.ndarray  # [S]
    std: np.ndarray  # [S]
    mase: np.ndarray  # [S], mean absolute error of the seasonal repetition on the training rows, raw


def series_scale(names: list[str], mean: np.ndarray, std: np.ndarray, train: list[Segment], season: Season | None) -> SeriesScale:
    """Adds the scale of the MASE (Hyndman and Koehler 2006), taken from the training rows; a season of 1 where there is none."""
    mase = np.zeros(len(names))
    for segment in train:
        rows = slice(segment.first_target, segment.last_target_end)
        series = list(segment.series)
        raw = segment.values[rows].astype(np.float64) * std[series] + mean[series]
        mase[series] = mase_scales(raw, segment.observed[rows], season.steps if season else 1)
    return SeriesScale(names, mean, std, mase)


def baselines_for(
    train: list[Segment], validation: list[Segment], lookback: int, horizon: int, season: Season | None
) -> dict[str, Baseline]:
    """The baselines under the names of the season that they use: `repeat_last`, `repeat_day`, `mean_day`, `ridge`."""
    fitted = fit_baselines(train, validation, lookback, horizon, season.steps if season else None)
    return {name.replace("day", season.name) if season else name: baseline for name, baseline in fitted.items()}


def score(
    forecast: Callable[[Any], np.ndarray],
    batches: Iterable[Any],
    horizon: int,
    scale: SeriesScale,
    baselines: dict[str, Baseline],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Metrics of the model and of each baseline over all windows of `batches` (as `WindowShape.signature` tells).

    Raises:
      TrainerError: a forecast is no number; the text names the window.
    """

    def fresh() -> ForecastMetrics:
        return ForecastMetrics(horizon, scale.mean, scale.std, scale.mase, scale.names)

    model, others = fresh(), {name: fresh() for name in baselines}
    for batch in batches:
        arrays = {name: value.numpy() for name, value in batch.items()}
        observed = arrays["target_weight"] > 0
        model.add(forecast(batch), arrays["target"], observed, arrays["series"])
        for name, baseline in baselines.items():
            guess = baseline(arrays["past"], arrays["past_observed"] > 0)
            others[name].add(guess, arrays["target"], observed, arrays["series"])
    return model.results(), {name: metrics.results() for name, metrics in others.items()}

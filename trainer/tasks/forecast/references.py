"""References that forecasts of a split are compared with, and their units."""

from __future__ import annotations

from trainer.tasks.forecast.data import series_store
from trainer.tasks.forecast.evaluation.baselines import Baseline
from trainer.tasks.forecast.evaluation.recent_quantiles import RecentQuantiles
from trainer.tasks.forecast.evaluation.scoring import Baselines, SeriesScale, baselines_for, series_scale
from trainer.tasks.forecast.task_data import ForecastData


def baselines(data: ForecastData, split: str, levels: tuple[float, ...]) -> Baselines:
    """The forecasters of a split's windows beside the model: recent quantiles too, where there are quantile `levels`
    and a season.
    """
    season, recent = data.season, None
    if levels and season is not None:
        segments = data.segments(split, data.multivariate)
        recent = RecentQuantiles(segments, data.shape.lookback, data.shape.horizon, season.steps, levels)
    return Baselines(point_baselines(data), recent, season)


def point_baselines(data: ForecastData) -> dict[str, Baseline]:
    """The forecasts to beat, fitted on the training split, with penalties chosen on the validation split."""
    train, validation = data.univariate_segments("train"), data.univariate_segments("validation")
    return baselines_for(train, validation, data.shape.lookback, data.shape.horizon, data.season)


def scale(data: ForecastData) -> SeriesScale:
    """The factors from standardised to raw units and to scaled errors."""
    names = series_store.series_names(data.manifest)
    return series_scale(names, data.mean, data.std, data.univariate_segments("train"), data.season)

"""The evaluation of a forecaster: of a whole split, or a backtest, for which each origin may know the rows before it
alone.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from trainer.config.trained_model import EvaluateConfig
from trainer.errors import ConfigError, DataError, Problem, UnfitError
from trainer.reports.parts import Evaluation, Section
from trainer.tasks.forecast import references
from trainer.tasks.forecast.calibration import predictor
from trainer.tasks.forecast.data import series_store
from trainer.tasks.forecast.evaluation.backtest import (
    Fitted,
    Origin,
    backtest,
    backtest_section,
    numbers_of,
    rolling_origins,
)
from trainer.tasks.forecast.evaluation.report import calibration_section, headline, horizon_section, series_section
from trainer.tasks.forecast.evaluation.scoring import season_facts
from trainer.tasks.forecast.flags import BacktestFlags, CalibrationFlags
from trainer.tasks.forecast.task import ForecastTask
from trainer.tasks.forecast.task_data import ForecastData
from trainer.tasks.task import Batch, Refit

logger = logging.getLogger(__name__)


def groups_before(task: ForecastTask, split: str, origin: Origin) -> list[series_store.GroupSeries]:
    """The data as it was at an origin of `split`: rows end there, the last of them are the validation split, as many as
    before.

    Values stay standardised by the training rows of the dataset, which lie before every origin.

    Raises:
      DataError: no row is left to train on.
    """
    groups = []
    for group in task.data.groups(split):
        if split not in group.splits:
            groups.append(group)
            continue
        end = group.splits[split][1] - origin.before
        first, last = group.splits.get("validation", (0, 0))
        border = end - (last - first)
        if border <= 0:
            raise DataError(f"{group.name} has no row to train on before {origin.label}; use fewer --windows")
        groups.append(
            series_store.cut(
                group, end, {"train": (0, border)} | ({"validation": (border, end)} if last > first else {})
            )
        )
    return groups


def run(task: ForecastTask, model: keras.Model, config: EvaluateConfig, refit: Refit) -> Evaluation:
    """Scores a split, or forecasts from rolling origins at its end where `--backtest` says so; `refit` trains such a
    task anew.

    Raises:
      ConfigError: so many origins do not fit into the split.
    """
    flags = config.of(BacktestFlags)
    if not flags.backtest:
        return task.evaluate(model, config)
    return backtest_evaluation(task, model, config, refit if flags.refit else None)


def _origins(data: ForecastData, split: str, rolling: BacktestFlags) -> list[Origin]:
    """Raises ConfigError where so many do not fit into the split."""
    assert rolling.windows is not None
    segments, shape = data.segments(split, True), data.shape
    try:
        return rolling_origins(segments, shape.lookback, shape.horizon, rolling.windows, rolling.stride)
    except UnfitError as error:
        raise ConfigError([Problem("windows", error.value, error.reason, error.remedy)]) from None


def backtest_evaluation(
    task: ForecastTask, model: keras.Model, config: EvaluateConfig, refit: Refit | None
) -> Evaluation:
    """Forecasts `--windows` windows of the split; `refit` trains anew for each, None takes `model` for all.

    Intervals are calibrated as `--conformal` says, with what is over before an origin or with the validation split; of
    a model that is trained anew, this is its own.

    Raises:
      ConfigError: so many origins do not fit into the split.
    """
    data, objective = task.data, task.objective
    facts, rolling, conformal = data.facts, config.of(BacktestFlags), config.of(CalibrationFlags).conformal
    shape, split = data.shape, config.split
    segments, windows = data.segments(split, data.multivariate), data.windows(split)
    scale = references.scale(data)
    origins = _origins(data, split, rolling)
    generator, adjust = objective.generator, None
    baselines = references.baselines(data, split, generator.levels)
    if refit is None:
        generator, adjust = task.calibration(model).of_split(conformal, split)
    unchanged = Fitted(predictor(model, generator), baselines, adjust)

    def fit(origin: Origin) -> Fitted:
        if refit is None:
            return unchanged
        logger.info("training on what is before %s", origin.label)
        make = functools.partial(ForecastTask, groups=groups_before(task, split, origin))
        fitted, trained = make(task.config, task.manifest), refit(make)
        calibrated = fitted.calibration(trained).after_all_data(conformal)
        generator = dataclasses.replace(fitted.objective.generator, conformal=calibrated)
        points = references.point_baselines(fitted.data)
        return Fitted(predictor(trained, generator), dataclasses.replace(baselines, points=points))

    def batches(origin: Origin) -> Iterator[tuple[np.ndarray, Batch]]:
        numbers = numbers_of(segments, shape.lookback, shape.horizon, origin)
        for first in range(0, len(numbers), config.batch_size):
            part = numbers[first : first + config.batch_size]
            yield part, windows.batch(tf.constant(part), tf.ones(len(part)))

    scores = backtest(origins, fit, batches, shape.horizon, rolling.stride, scale)
    scores["backtest"]["refit"] = refit is not None
    count = len(origins) * len(data.segments(split, True))

    def sections() -> list[Section]:
        metrics = scores["metrics"]
        sections = [
            backtest_section(scores, refit is not None),
            horizon_section(metrics, scores["baselines"], facts.interval, count),
            calibration_section(metrics, metrics["targets"]),
            series_section(metrics, scores["baselines"]),
        ]
        return [section for section in sections if section is not None]

    return Evaluation(
        {"count": count, "season": season_facts(facts.interval), **scores},
        headline(objective.distribution is not None, "windows at rolling origins"),
        sections,
    )

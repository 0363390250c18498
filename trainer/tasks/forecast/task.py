"""Forecasting: windows of series in, the next steps out."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from trainer.config.train import TrainConfig
from trainer.config.trained_model import EvaluateConfig, ExportConfig
from trainer.dataset.schema import Manifest
from trainer.errors import ConfigError, Problem
from trainer.reports.parts import Evaluation, Section
from trainer.tasks.forecast import references
from trainer.tasks.forecast.calibration import Calibration, predictor
from trainer.tasks.forecast.data.series_slices import count_windows
from trainer.tasks.forecast.data.series_store import GroupSeries
from trainer.tasks.forecast.evaluation.report import (
    calibration_section,
    forecasts_section,
    headline,
    horizon_section,
    ranked_series,
    series_section,
    shown_windows,
)
from trainer.tasks.forecast.evaluation.scoring import Prediction, score, season_facts
from trainer.tasks.forecast.evaluation.window_errors import WindowErrors
from trainer.tasks.forecast.flags import CalibrationFlags, ForecastExportFlags
from trainer.tasks.forecast.model.predictor import PATHS
from trainer.tasks.forecast.objective import ForecastObjective
from trainer.tasks.forecast.signatures import forecast_serving
from trainer.tasks.forecast.task_data import ForecastData
from trainer.tasks.serving import Serving
from trainer.tasks.task import Batch, Task


class ForecastTask(Task):
    name = "forecast"
    data: ForecastData
    objective: ForecastObjective

    def __init__(self, config: TrainConfig, manifest: Manifest, groups: list[GroupSeries] | None = None):
        """With `groups` the task is on these and the splits that they tell, instead of on the dataset's."""
        self.config, self.manifest = config, manifest
        self.data = ForecastData(config, manifest, groups)
        self.objective = ForecastObjective(self.data)

    def calibration(self, model: keras.Model) -> Calibration:
        return Calibration(self.data, model, self.objective.generator)

    def serving(self, model: keras.Model, config: ExportConfig) -> Serving:
        flags, data, calibration = config.of(ForecastExportFlags), self.data, self.calibration(model)
        copula = None
        if flags.copula == "validation" and self.objective.draws_parallel_paths:
            if "validation" not in data.splits:
                reason = f"finds no validation split in {self.config.data_dir}"
                remedy = "use --copula=none, or prepare the data with one"
                raise ConfigError([Problem("copula", flags.copula, reason, remedy)])
            copula = calibration.copula()
        conformal = calibration.after_all_data(flags.conformal)
        generator = dataclasses.replace(self.objective.generator, conformal=conformal, copula=copula)
        return forecast_serving(model, generator, data.shape, data.facts, data.multivariate, flags.largest_num_samples)

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> Evaluation:
        data, objective, split, shape = self.data, self.objective, config.split, self.data.shape
        facts, levels = data.facts, objective.generator.levels
        baselines, scale = references.baselines(data, split, levels), references.scale(data)
        calibration = self.calibration(model)
        generator, adjust = calibration.of_split(config.of(CalibrationFlags).conformal, split)
        paths = PATHS if generator.ancestral else 0
        if objective.draws_parallel_paths and split == "test" and "validation" in data.splits:
            generator, paths = dataclasses.replace(generator, copula=calibration.copula()), PATHS
        batches = data.evaluation_batches(split, data.with_paths(config.batch_size) if paths else config.batch_size)
        predict, errors = predictor(model, generator, paths), WindowErrors()

        def noted(batch: Batch) -> Prediction:
            prediction = predict(batch)
            errors.add(
                prediction.mean, batch["target"].numpy(), batch["target_weight"].numpy(), batch["series"].numpy()
            )
            return prediction

        def again(numbers: np.ndarray, batch: Batch) -> Prediction:
            prediction = predict(batch)
            return prediction if adjust is None else adjust(numbers, prediction)

        metrics, others = score(noted, batches, shape.horizon, scale, baselines, adjust)
        count = count_windows(data.segments(split, True), shape.lookback, shape.horizon)

        def sections() -> list[Section]:
            chosen = ranked_series(metrics["per_series"])
            segments = data.segments(split, data.multivariate)
            shown = shown_windows(again, data.windows(split), segments, errors, chosen, scale)
            sections = [
                forecasts_section(shown, facts.interval is not None, count, len(scale.names)),
                horizon_section(metrics, others, facts.interval, count),
                calibration_section(metrics, metrics["targets"]),
                series_section(metrics, others),
            ]
            return [section for section in sections if section is not None]

        scores = {"count": count, "season": season_facts(facts.interval), "metrics": metrics, "baselines": others}
        return Evaluation(scores, headline(objective.distribution is not None), sections)


TASK = ForecastTask

"""Forecasting: windows of series in, the next steps out."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.config import EvaluateConfig, ExportConfig, TrainConfig
from trainer.data import intervals, series_store
from trainer.data.manifest import Manifest
from trainer.data.segments import Segment, count_windows
from trainer.data.windows import Windows, WindowShape, feature_count
from trainer.evaluation.forecast_baselines import Baseline
from trainer.evaluation.forecast_evaluation import SeriesScale, baselines_for, score, season_of, series_scale
from trainer.evaluation.forecast_report import (
    HEADLINE,
    calibration_section,
    forecasts_section,
    horizon_section,
    ranked_series,
    series_section,
    shown_windows,
)
from trainer.evaluation.report_parts import Evaluation, Section
from trainer.evaluation.window_errors import WindowErrors
from trainer.models.forecaster import Forecaster
from trainer.models.noise import Noise
from trainer.tasks.forecast_serving import forecast_serving
from trainer.tasks.serving import Serving
from trainer.tasks.task import Batch, State, Sums, Task


class ForecastTask(Task):
    name = "forecast"
    score_name = "mse"

    def __init__(self, config: TrainConfig, manifest: Manifest, groups: list[series_store.GroupSeries] | None = None):
        """With `groups` the task is on these and the splits that they tell, instead of on the dataset's own."""
        super().__init__(config, manifest)
        assert manifest.series is not None
        forecast = config.forecast
        self.joint = forecast.series == "joint"
        self.shape = WindowShape(
            lookback=forecast.lookback,
            horizon=forecast.horizon,
            channels=len(manifest.series.columns) if self.joint else 1,
            features=feature_count(manifest.series.interval is not None, forecast.time_features),
        )
        self._given = groups  # instead of the dataset's own
        self._groups: dict[str, list[series_store.GroupSeries]] = {}
        if groups is not None:
            self._groups = {split: groups for group in groups for split in group.splits}
        self._windows: dict[str, Windows] = {}

    def groups(self, split: str) -> list[series_store.GroupSeries]:
        """The series of every group up to and including `split`; read from the shards at the first call."""
        if split not in self._groups:
            self._groups[split] = series_store.load(self.config.data_dir, self.manifest, split)
        return self._groups[split]

    @property
    def splits(self) -> tuple[str, ...]:
        return super().splits if self._given is None else tuple(self._groups)

    def segments(self, split: str, joint: bool) -> list[Segment]:
        """The stretches of a split that windows are cut from."""
        return series_store.segments(self.groups(split), split, joint)

    def windows(self, split: str) -> Windows:
        """All windows of a split."""
        if split not in self._windows:
            self._windows[split] = Windows(self.segments(split, self.joint), self.shape)
        return self._windows[split]

    @property
    def examples_per_epoch(self) -> int:
        return self.windows("train").count

    def read_by(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.cast(tf.shape(batch["past"])[0], tf.float32)
        return rows, rows * self.shape.lookback

    def signature(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        return self.shape.signature(batch_size)

    def training_batches(self, first_step: int, total_examples: int | None) -> tf.data.Dataset:
        config = self.config
        return self.windows("train").training(first_step, config.budget.batch_size, config.seed, total_examples)

    def evaluation_batches(self, split: str, batch_size: int) -> tf.data.Dataset:
        return self.windows(split).in_order(batch_size)

    def build_model(self, dtype: str) -> keras.Model:
        assert self.manifest.series is not None
        num_series = len(self.manifest.series.columns) * len(self.manifest.series.groups)
        return Forecaster(self.shape, num_series, self.config.forecast, self.config.model, dtype, self.config.device.kernel)

    @property
    def nominal_weight(self) -> float:
        return float(self.config.budget.batch_size * self.shape.horizon * self.shape.channels)

    def loss(self, model: keras.Model, batch: Batch, noise: Noise | None, state: State) -> tuple[tf.Tensor, tf.Tensor, State]:
        error = model(batch, noise=noise) - batch["target"]
        each = tf.abs(error) if self.config.forecast.forecast_loss == "mae" else tf.square(error)
        return tf.reduce_sum(each * batch["target_weight"]), tf.reduce_sum(batch["target_weight"]), state

    def validation_sums(self, model: keras.Model, batch: Batch, state: State) -> tuple[Sums, State]:
        error = model(batch) - batch["target"]
        weight = batch["target_weight"]
        total = tf.reduce_sum(weight)
        squared, absolute = tf.reduce_sum(tf.square(error) * weight), tf.reduce_sum(tf.abs(error) * weight)
        return {"mse": (squared, total), "mae": (absolute, total)}, state

    def serving(self, model: keras.Model, config: ExportConfig) -> Serving:
        assert self.manifest.series is not None
        return forecast_serving(model, self.shape, self.manifest.series, self.joint)

    def scale(self) -> SeriesScale:
        """What leads from standardised to raw units and to scaled errors."""
        assert self.manifest.series is not None
        groups = self.manifest.series.groups
        mean, std = (np.asarray([getattr(group, name) for group in groups]).reshape(-1) for name in ("mean", "std"))
        train = self.segments("train", False) if "train" in self.splits else []
        return series_scale(series_store.series_names(self.manifest), mean, std, train, season_of(self.manifest.series.interval))

    def baselines(self) -> dict[str, Baseline]:
        """The forecasts to beat, fitted on the training split, with penalties chosen on the validation split."""
        assert self.manifest.series is not None
        train, validation = (self.segments(name, False) if name in self.splits else [] for name in ("train", "validation"))
        return baselines_for(train, validation, self.shape.lookback, self.shape.horizon, season_of(self.manifest.series.interval))

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> Evaluation:
        facts = self.manifest.series
        assert facts is not None
        scale, baselines = self.scale(), self.baselines()
        run = tf.function(lambda batch: model(batch), reduce_retracing=True)
        errors = WindowErrors()

        def forecast(batch: Batch) -> np.ndarray:
            found: np.ndarray = run(batch).numpy()
            errors.add(found, batch["target"].numpy(), batch["target_weight"].numpy(), batch["series"].numpy())
            return found

        batches = self.evaluation_batches(config.split, config.batch_size)
        metrics, others = score(forecast, batches, self.shape.horizon, scale, baselines)
        count = count_windows(self.segments(config.split, True), self.shape.lookback, self.shape.horizon)

        def sections() -> list[Section]:
            chosen = ranked_series(metrics["per_series"])
            segments = self.segments(config.split, self.joint)
            shown = shown_windows(lambda batch: (run(batch).numpy(), {}), self.windows(config.split), segments, errors, chosen, scale)
            found = [
                forecasts_section(shown, facts.interval is not None, count, len(scale.names)),
                horizon_section(metrics, others, intervals.describe(facts.interval), count),
                calibration_section(metrics, metrics["targets"]),
                series_section(metrics, others),
            ]
            return [section for section in found if section is not None]

        return Evaluation({"count": count, "metrics": metrics, "baselines": others}, HEADLINE, sections)

"""Forecasting: windows of series in, the next steps out."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import EvaluateConfig, ExportConfig, TrainConfig
from trainer.data import series_store
from trainer.data.manifest import Manifest
from trainer.data.segments import Segment, count_windows
from trainer.data.windows import Windows, WindowShape, feature_count
from trainer.evaluation.forecast_evaluation import baselines_for, score, season_of, series_scale
from trainer.models.forecaster import Forecaster
from trainer.models.noise import Noise
from trainer.tasks.forecast_serving import forecast_serving
from trainer.tasks.serving import Serving
from trainer.tasks.task import Batch, State, Sums, Task


class ForecastTask(Task):
    name = "forecast"
    score_name = "mse"

    def __init__(self, config: TrainConfig, manifest: Manifest):
        super().__init__(config, manifest)
        assert manifest.series is not None
        forecast = config.forecast
        self.joint = forecast.series == "joint"
        self.shape = WindowShape(
            lookback=forecast.lookback,
            horizon=forecast.horizon,
            channels=len(manifest.series.columns) if self.joint else 1,
            features=feature_count(manifest.series, forecast.time_features),
        )
        self._groups: dict[str, list[series_store.GroupSeries]] = {}
        self._windows: dict[str, Windows] = {}

    def segments(self, split: str, joint: bool) -> list[Segment]:
        """The stretches of a split that windows are cut from; read from the shards at the first call."""
        if split not in self._groups:
            self._groups[split] = series_store.load(self.config.data_dir, self.manifest, split)
        return series_store.segments(self._groups[split], split, joint)

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

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> dict[str, Any]:
        facts = self.manifest.series
        assert facts is not None
        season = season_of(facts.interval)
        mean, std = (np.asarray([getattr(group, name) for group in facts.groups]).reshape(-1) for name in ("mean", "std"))
        train, validation = (self.segments(name, False) if name in self.splits else [] for name in ("train", "validation"))
        scale = series_scale(series_store.series_names(self.manifest), mean, std, train, season)
        baselines = baselines_for(train, validation, self.shape.lookback, self.shape.horizon, season)
        run = tf.function(lambda batch: model(batch), reduce_retracing=True)
        batches = self.evaluation_batches(config.split, config.batch_size)
        metrics, others = score(lambda batch: run(batch).numpy(), batches, self.shape.horizon, scale, baselines)
        count = count_windows(self.segments(config.split, True), self.shape.lookback, self.shape.horizon)
        return {"count": count, "metrics": metrics, "baselines": others}

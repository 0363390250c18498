"""Windows of series, as batches."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.dataset.schema import Manifest
from trainer.tasks.forecast.data import series_store
from trainer.tasks.forecast.data.counts import check_counts
from trainer.tasks.forecast.data.series_slices import SeriesSlice
from trainer.tasks.forecast.data.windows import Windows, WindowShape, feature_count
from trainer.tasks.forecast.evaluation.scoring import Season, season_of
from trainer.tasks.forecast.facts import SeriesFacts
from trainer.tasks.forecast.flags import ForecastFlags
from trainer.tasks.forecast.model.predictor import PATHS
from trainer.tasks.task import Batch, TaskData

MOST_DRAWN = 1 << 25  # values of sample paths held at once: 128 MiB, and some copies


class ForecastData(TaskData):
    """The series of a dataset, cut into windows.

    Attributes:
        facts: of the dataset.
        flags: of the run.
        multivariate: whether all columns of a group are one window.
        shape: of a window.
        mean: raw, `[series]` float64.
        std: raw, `[series]` float64.
    """

    def __init__(self, config: TrainConfig, manifest: Manifest, groups: list[series_store.GroupSeries] | None = None):
        """With `groups` the data are these and the splits that they tell, instead of the dataset's."""
        super().__init__(config, manifest)
        self.facts = SeriesFacts.of(manifest)
        self.flags = forecast = config.of(ForecastFlags)
        self.multivariate = forecast.series == "multivariate"
        self.shape = WindowShape(
            lookback=forecast.lookback,
            horizon=forecast.horizon,
            channels=len(self.facts.columns) if self.multivariate else 1,
            features=feature_count(self.facts, forecast.time_features),
        )
        self.mean, self.std = (
            np.asarray([getattr(group, name) for group in self.facts.groups]).reshape(-1) for name in ("mean", "std")
        )
        self._replacement = groups
        self._groups: dict[str, list[series_store.GroupSeries]] = {}
        if groups is not None:
            self._groups = {split: groups for group in groups for split in group.splits}
        self._windows: dict[str, Windows] = {}

    def groups(self, split: str) -> list[series_store.GroupSeries]:
        """The series of every group up to and including `split`; read from the shards at the first call."""
        if split not in self._groups:
            self._groups[split] = series_store.load(self.config.data_dir, self.manifest, split)
            if self.flags.output == "negative_binomial":
                check_counts(self.manifest, self._groups[split])
        return self._groups[split]

    @property
    def splits(self) -> tuple[str, ...]:
        return super().splits if self._replacement is None else tuple(self._groups)

    def segments(self, split: str, multivariate: bool) -> list[SeriesSlice]:
        """The stretches of a split that windows are cut from."""
        return series_store.segments(self.groups(split), split, multivariate)

    def univariate_segments(self, split: str) -> list[SeriesSlice]:
        """The stretches of a split, series by series; none where the dataset lacks it."""
        return self.segments(split, False) if split in self.splits else []

    def windows(self, split: str) -> Windows:
        """All windows of a split."""
        if split not in self._windows:
            self._windows[split] = Windows(self.segments(split, self.multivariate), self.shape)
        return self._windows[split]

    @property
    def season(self) -> Season | None:
        """The calendar's, where the series have times."""
        return season_of(self.facts.interval)

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

    @property
    def evaluation_batch_size(self) -> int:
        size = super().evaluation_batch_size
        return self.with_paths(size) if self.flags.ancestral else size

    def with_paths(self, batch_size: int) -> int:
        """The windows of a batch, or fewer where the paths of so many would not fit into memory."""
        return max(1, min(batch_size, MOST_DRAWN // (PATHS * self.shape.horizon * self.shape.channels)))

    def evaluation_batches(self, split: str, batch_size: int) -> tf.data.Dataset:
        return self.windows(split).in_order(batch_size)

"""Forecasting: windows of series in, the next steps out."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.config.trained_model import EvaluateConfig, ExportConfig
from trainer.dataset.schema import Manifest
from trainer.errors import ConfigError, DataError, Problem
from trainer.nn.step_context import StepContext
from trainer.reports.parts import Evaluation, Section
from trainer.tasks.forecast.data import series_store
from trainer.tasks.forecast.data.counts import check_counts
from trainer.tasks.forecast.data.series_slices import SeriesSlice, count_windows
from trainer.tasks.forecast.data.windows import Windows, WindowShape, feature_count
from trainer.tasks.forecast.evaluation.baselines import Baseline
from trainer.tasks.forecast.evaluation.conformal_fit import (
    RecentConformal,
    ScoredWindows,
    newest_conformal,
    scored_windows,
    window_moments,
)
from trainer.tasks.forecast.evaluation.copula_fit import fitted_copula
from trainer.tasks.forecast.evaluation.recent_quantiles import SEASONS, RecentQuantiles
from trainer.tasks.forecast.evaluation.report import (
    calibration_section,
    forecasts_section,
    headline,
    horizon_section,
    ranked_series,
    series_section,
    shown_windows,
)
from trainer.tasks.forecast.evaluation.scoring import (
    Adjust,
    Baselines,
    Prediction,
    SeriesScale,
    baselines_for,
    score,
    season_facts,
    season_of,
    series_scale,
)
from trainer.tasks.forecast.evaluation.window_errors import WindowErrors
from trainer.tasks.forecast.facts import SeriesFacts
from trainer.tasks.forecast.flags import CalibrationFlags, ForecastExportFlags, ForecastFlags
from trainer.tasks.forecast.model.blend import NETWORK, REGRESSION, best_share, share_sums, weighted_mse
from trainer.tasks.forecast.model.conformal import Conformal
from trainer.tasks.forecast.model.copula import Copula
from trainer.tasks.forecast.model.distributions import DISTRIBUTIONS, Distribution, quantile_loss
from trainer.tasks.forecast.model.forecaster import Forecaster
from trainer.tasks.forecast.model.predictor import PATHS, ForecastGenerator
from trainer.tasks.forecast.model.ridge import fit_ridge
from trainer.tasks.forecast.signatures import forecast_serving
from trainer.tasks.serving import Serving
from trainer.tasks.task import Batch, CarriedState, Sums, Task

logger = logging.getLogger(__name__)

MOST_DRAWN = 1 << 25  # values of sample paths held at once: 128 MiB, and some copies


class ForecastTask(Task):
    name = "forecast"

    def __init__(self, config: TrainConfig, manifest: Manifest, groups: list[series_store.GroupSeries] | None = None):
        """With `groups` the task is on these and the splits that they tell, instead of on the dataset's own."""
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
        self._given = groups  # instead of the dataset's own
        self._linear: np.ndarray | None = None  # weights of the linear skip, once fitted
        facts = self.facts.groups
        self.mean, self.std = (
            np.asarray([getattr(group, name) for group in facts]).reshape(-1) for name in ("mean", "std")
        )  # [S] raw
        self.distribution: Distribution | None = None
        if forecast.output != "point":
            self.distribution = DISTRIBUTIONS[forecast.output](forecast.levels, self.mean, self.std)
        self.generator = ForecastGenerator(self.distribution, forecast.ancestral)
        self.score_name = "mse" if self.distribution is None else "weighted_quantile_loss"
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
        return super().splits if self._given is None else tuple(self._groups)

    def segments(self, split: str, multivariate: bool) -> list[SeriesSlice]:
        """The stretches of a split that windows are cut from."""
        return series_store.segments(self.groups(split), split, multivariate)

    def _own_segments(self, split: str) -> list[SeriesSlice]:
        """The stretches of a split, series by series; none where the dataset lacks it."""
        return self.segments(split, False) if split in self.splits else []

    def windows(self, split: str) -> Windows:
        """All windows of a split."""
        if split not in self._windows:
            self._windows[split] = Windows(self.segments(split, self.multivariate), self.shape)
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

    def fit(self) -> None:
        """Fits the linear skip, where there is one.

        Raises:
          DataError: no window of the training split has all its targets.
        """
        if self.flags.linear_skip == "none":
            return
        ridge = fit_ridge(
            self._own_segments("train"), self._own_segments("validation"), self.shape.lookback, self.shape.horizon
        )
        if ridge is None:
            raise DataError(
                f"--linear_skip: no window of {self.config.data_dir} has all its targets; leave it out, or fill the "
                "gaps"
            )
        logger.info("linear skip: ridge regression with a penalty of %g fitted to the training split", ridge.penalty)
        self._linear = ridge.weights

    @property
    def starts_fitted(self) -> bool:
        return self.flags.linear_skip == "add"

    def build_model(self, dtype: str) -> keras.Model:
        num_series = len(self.facts.columns) * len(self.facts.groups)
        config = self.config
        return Forecaster(
            self.shape,
            num_series,
            self.flags,
            config.model,
            dtype,
            config.device.kernel,
            self.distribution,
            self._linear,
        )

    @property
    def nominal_weight(self) -> float:
        return float(self.config.budget.batch_size * self.shape.horizon * self.shape.channels)

    def loss(
        self, model: keras.Model, batch: Batch, context: StepContext | None, state: CarriedState
    ) -> tuple[tf.Tensor, tf.Tensor, CarriedState]:
        numbers = model(batch, context=context)
        if self.distribution is not None:
            each = self.distribution.loss(numbers, batch["target"], batch["series"])
        else:
            error = numbers - batch["target"]
            each = tf.abs(error) if self.flags.forecast_loss == "mae" else tf.square(error)
        return tf.reduce_sum(each * batch["target_weight"]), tf.reduce_sum(batch["target_weight"]), state

    def validation_sums(self, model: keras.Model, batch: Batch, state: CarriedState) -> tuple[Sums, CarriedState]:
        target, weight = batch["target"], batch["target_weight"]
        if model.network_share is not None:
            network, regression = model.parts(batch)
            return share_sums(network, regression, target, weight), state
        computed = self.generator.computed(model, batch)
        numbers, forecast = computed(batch), self.generator.forecast(computed, batch)
        squared, absolute = tf.square(forecast["mean"] - target), tf.abs(forecast["median"] - target)
        total = tf.reduce_sum(weight)
        sums = {"mse": (tf.reduce_sum(squared * weight), total), "mae": (tf.reduce_sum(absolute * weight), total)}
        if self.distribution is not None:
            std, mean = (
                tf.gather(tf.constant(each, tf.float32), batch["series"])[:, None] for each in (self.std, self.mean)
            )
            loss = quantile_loss(forecast["quantiles"], target, self.distribution.levels)
            size = tf.abs(target * std + mean)
            sums["weighted_quantile_loss"] = tf.reduce_sum(loss * std * weight), tf.reduce_sum(size * weight)
            sums["loss"] = tf.reduce_sum(self.distribution.loss(numbers, target, batch["series"]) * weight), total
        return sums, state

    def validation_scores(self, model: keras.Model, means: dict[str, float]) -> dict[str, float]:
        """Sets the share of the network in a weighted forecast; its error is then that of the forecast so weighted."""
        if model.network_share is None:
            return means
        share = best_share(means)
        model.network_share.assign(share)
        return {"mse": weighted_mse(means, share), "network_share": share} | {
            name: means[name] for name in (NETWORK, REGRESSION)
        }

    def predictor(
        self, model: keras.Model, generator: ForecastGenerator, paths: int = 0
    ) -> Callable[[Batch], Prediction]:
        """A function that forecasts a batch of windows, as `evaluation_batches` gives them, with so many paths;
        compiled once.
        """

        @tf.function(reduce_retracing=True)
        def run(batch: Batch) -> dict[str, tf.Tensor]:
            computed = generator.computed(model, batch)
            drawn = (
                {"paths": generator.draw(computed, batch, tf.constant(paths), tf.constant(0, tf.int64))}
                if paths
                else {}
            )
            return generator.forecast(computed, batch) | drawn

        return lambda batch: Prediction(
            levels=generator.levels, **{name: value.numpy() for name, value in run(batch).items()}
        )

    def scored(self, model: keras.Model, split: str) -> ScoredWindows:
        """How far the targets of a split lie outside the raw intervals; takes a pass over it."""
        _, ends = window_moments(self.segments(split, self.multivariate), self.shape.lookback, self.shape.horizon)
        batches = self.evaluation_batches(split, self.evaluation_batch_size)
        return scored_windows(self.predictor(model, self.generator), batches, self.generator.levels, ends)

    def serving(self, model: keras.Model, config: ExportConfig) -> Serving:
        flags, copula = config.of(ForecastExportFlags), None
        if flags.copula == "validation" and self._parallel_paths:
            if "validation" not in self.splits:
                reason = f"finds no validation split in {self.config.data_dir}"
                remedy = "use --copula=none, or prepare the data with one"
                raise ConfigError([Problem("copula", flags.copula, reason, remedy)])
            copula = self.copula(model)
        generator = dataclasses.replace(
            self.generator, conformal=self.conformal_now(model, flags.conformal), copula=copula
        )
        return forecast_serving(model, generator, self.shape, self.facts, self.multivariate, flags.largest_num_samples)

    @property
    def _season_steps(self) -> int:
        """Steps of the calendar's season; without one, those of a forecast."""
        season = season_of(self.facts.interval)
        return season.steps if season is not None else self.shape.horizon

    @property
    def evaluation_batch_size(self) -> int:
        size = super().evaluation_batch_size
        return self._with_paths(size) if self.generator.ancestral else size

    def _with_paths(self, batch_size: int) -> int:
        """The windows of a batch, or fewer where the paths of so many would not fit into memory."""
        return max(1, min(batch_size, MOST_DRAWN // (PATHS * self.shape.horizon * self.shape.channels)))

    @property
    def _parallel_paths(self) -> bool:
        """Whether paths are drawn from the distributions of all steps at once."""
        return self.distribution is not None and not self.generator.ancestral

    def copula(self, model: keras.Model) -> Copula:
        """How steps hang together in the validation split; takes a pass over it."""
        batches = self.evaluation_batches("validation", self.evaluation_batch_size)
        return fitted_copula(self.predictor(model, self.generator), batches, self.windows("validation").count)

    def _recent(self, model: keras.Model, split: str) -> RecentConformal:
        """Calibration of a split's windows by those before them, in it and in the validation split."""
        parts = [self.scored(model, name) for name in dict.fromkeys(["validation", split]) if name in self.splits]
        scored = ScoredWindows(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("ends", "scores"))
        )
        begins, _ = window_moments(self.segments(split, self.multivariate), self.shape.lookback, self.shape.horizon)
        return RecentConformal(scored, begins, self.generator.levels, self._season_steps)

    def calibrated(self, model: keras.Model, how: str, split: str) -> tuple[ForecastGenerator, Adjust | None]:
        """How forecasts for the windows of a split are read and adjusted afterwards, with `--conformal` as `how`."""
        if how == "recent":
            return self.generator, self._recent(model, split).adjust
        return dataclasses.replace(self.generator, conformal=self.conformal_now(model, how)), None

    def conformal_now(self, model: keras.Model, how: str) -> Conformal | None:
        """The calibration of a forecast after all data, with `--conformal` as `how`."""
        if how == "none":
            return None
        levels = self.generator.levels
        if how == "validation":
            return Conformal(levels, self.scored(model, "validation").growth(levels))
        newest = "test" if "test" in self.splits else "validation"
        return newest_conformal(self.scored(model, newest), levels, SEASONS * self._season_steps)

    def baselines(self, split: str) -> Baselines:
        """What forecasts the windows of a split beside the model: recent quantiles too where it is probabilistic and
        there is a season.
        """
        season, recent = season_of(self.facts.interval), None
        if self.distribution is not None and season is not None:
            segments = self.segments(split, self.multivariate)
            recent = RecentQuantiles(
                segments, self.shape.lookback, self.shape.horizon, season.steps, self.generator.levels
            )
        return Baselines(self.point_baselines(), recent, season)

    def scale(self) -> SeriesScale:
        """What leads from standardised to raw units and to scaled errors."""
        train, season = self._own_segments("train"), season_of(self.facts.interval)
        return series_scale(series_store.series_names(self.manifest), self.mean, self.std, train, season)

    def point_baselines(self) -> dict[str, Baseline]:
        """The forecasts to beat, fitted on the training split, with penalties chosen on the validation split."""
        train, validation = self._own_segments("train"), self._own_segments("validation")
        return baselines_for(train, validation, self.shape.lookback, self.shape.horizon, season_of(self.facts.interval))

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> Evaluation:
        facts = self.facts
        baselines = self.baselines(config.split)
        generator, adjust = self.calibrated(model, config.of(CalibrationFlags).conformal, config.split)
        paths = PATHS if generator.ancestral else 0
        if self._parallel_paths and config.split == "test" and "validation" in self.splits:
            generator, paths = dataclasses.replace(generator, copula=self.copula(model)), PATHS
        batches = self.evaluation_batches(
            config.split, self._with_paths(config.batch_size) if paths else config.batch_size
        )
        predict, errors, scale = self.predictor(model, generator, paths), WindowErrors(), self.scale()

        def noted(batch: Batch) -> Prediction:
            found = predict(batch)
            errors.add(found.mean, batch["target"].numpy(), batch["target_weight"].numpy(), batch["series"].numpy())
            return found

        def again(numbers: np.ndarray, batch: Batch) -> Prediction:
            found = predict(batch)
            return found if adjust is None else adjust(numbers, found)

        metrics, others = score(noted, batches, self.shape.horizon, scale, baselines, adjust)
        count = count_windows(self.segments(config.split, True), self.shape.lookback, self.shape.horizon)

        def sections() -> list[Section]:
            chosen = ranked_series(metrics["per_series"])
            segments = self.segments(config.split, self.multivariate)
            shown = shown_windows(again, self.windows(config.split), segments, errors, chosen, scale)
            found = [
                forecasts_section(shown, facts.interval is not None, count, len(scale.names)),
                horizon_section(metrics, others, facts.interval, count),
                calibration_section(metrics, metrics["targets"]),
                series_section(metrics, others),
            ]
            return [section for section in found if section is not None]

        scores = {"count": count, "season": season_facts(facts.interval), "metrics": metrics, "baselines": others}
        return Evaluation(scores, headline(self.distribution is not None), sections)


TASK = ForecastTask

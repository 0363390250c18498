"""The flags of forecasting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from trainer.config.fields import FlagGroup, at_least, flag, within
from trainer.config.task_flags import TaskFlags, TfdsFeatures
from trainer.config.train import TaskTrainFlags, TrainConfig
from trainer.config.trained_model import TaskEvaluateFlags, TaskExportFlags
from trainer.errors import Problem

LONGEST_SEGMENT = 24
OUTPUTS = ("point", "quantiles", "normal", "student_t", "negative_binomial")
LEVELS = ("0.05", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95")
CONFORMAL = ("none", "validation", "recent")
COPULA = ("validation", "none")


@dataclass(frozen=True)
class SeriesFlags(FlagGroup):
    GROUP: ClassVar[str] = "series (forecast)"
    FIELD: ClassVar[str] = "series"

    date_column: str = flag(
        "column with the times; auto takes a first column that holds dates, none ignores dates", default="auto"
    )
    future_covariates: tuple[str, ...] = flag(
        "csv: columns of numbers that are known for the future too (promo, price): the model reads them, and does not "
        "forecast them",
        default=(),
    )
    static_covariates: tuple[str, ...] = flag(
        "csv: columns with one value a file (store, size): numbers in all files are read as numbers, else each text "
        "is a category",
        default=(),
    )

    def problems_in(self, config: Any) -> Iterator[Problem]:
        if config.source in ("npy", "tfds", "sample") and self.date_column != "auto":
            yield Problem(
                "date_column", self.date_column, f"has no effect with --source={config.source}", "leave it out"
            )
        for name in ("future_covariates", "static_covariates"):
            columns = getattr(self, name)
            shown = ",".join(columns)
            if columns and config.source != "csv":
                yield Problem(
                    name, shown, f"has no effect with --source={config.source}", "leave it out, or use --source=csv"
                )
            if len(set(columns)) < len(columns):
                yield Problem(name, shown, "names a column twice", "name each once")
            others = {
                "date_column": (self.date_column,),
                "static_covariates": self.static_covariates if name != "static_covariates" else (),
            }
            for other, theirs in others.items():
                if both := set(columns) & set(theirs):
                    yield Problem(
                        name, shown, f"names {sorted(both)[0]}, as --{other} does", "give each column one role"
                    )


@dataclass(frozen=True)
class ForecastFlags(TaskTrainFlags):
    GROUP: ClassVar[str] = "forecast"
    FIELD: ClassVar[str] = "forecast"

    lookback: int = flag("time steps that the model sees", default=96)
    horizon: int = flag("time steps that it forecasts", default=24)
    series: str = flag(
        "global: one model, each series by itself; multivariate: all series at once",
        default="global",
        choices=("global", "multivariate"),
    )
    segment_length: int = flag(
        "time steps that one recurrent step reads and writes; 1 reads step by step; 0 takes the largest up to "
        f"{LONGEST_SEGMENT} that fits",
        default=0,
    )
    decoder: str = flag(
        "parallel: all segments of the horizon at once; autoregressive: one after another, each from the forecast "
        "before it",
        default="parallel",
        choices=("parallel", "autoregressive"),
    )
    teacher_forcing: float | None = flag(
        "autoregressive: share of the segments that training tells the true values before them, instead of the "
        "model's own; without it 0 "
        "with --output=point, else 1",
        default=None,
    )
    final_teacher_forcing: float | None = flag(
        "the share at the end of training, which it changes to evenly (scheduled sampling); without it the same all "
        "along",
        default=None,
    )
    linear_skip: str = flag(
        "ridge regression on the lookback, fitted before training. add: the network learns what it leaves over; "
        "average: it is trained by "
        "itself. A point forecast is a weighted mean of the regression and what was trained, its weight fitted to the "
        "validation split",
        default="none",
        choices=("none", "add", "average"),
    )
    ensemble_size: int = flag(
        "networks trained side by side, each from a start of its own on its share of every batch; the forecast is "
        "their mean",
        default=1,
    )
    time_features: bool = flag("feed hour, weekday and month where the data has dates", default=False)
    output: str = flag(
        "what is forecast: one value, quantiles, or a distribution's parameters", default="point", choices=OUTPUTS
    )
    quantiles: tuple[str, ...] = flag(
        "levels of the quantiles that are forecast (every output but point)", default=LEVELS
    )
    forecast_loss: str = flag("what training minimises with --output=point", default="mse", choices=("mse", "mae"))

    @property
    def batch_parts(self) -> Mapping[str, int]:
        return {"ensemble_size": self.ensemble_size}

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the forecast's quantiles; none for a point forecast."""
        return () if self.output == "point" else tuple(float(level) for level in self.quantiles)

    @property
    def ancestral(self) -> bool:
        """Whether the model writes sample paths, value after value, and its forecasts are what they show."""
        return self.decoder == "autoregressive" and self.output != "point"

    @property
    def teacher_forcing_course(self) -> tuple[float, float]:
        """The share of segments that are told the truth, at the start of training and at its end."""
        first = self.teacher_forcing
        if first is None:
            first = 1.0 if self.ancestral else 0.0
        return first, first if self.final_teacher_forcing is None else self.final_teacher_forcing

    @property
    def segment(self) -> int:
        """Time steps of a segment: as given, or the largest common divisor of lookback and horizon up to
        `LONGEST_SEGMENT`.

        An autoregressive decoder of a distribution draws value after value, each from the one before it.
        """
        if self.segment_length:
            return self.segment_length
        if self.ancestral:
            return 1
        return max(
            step for step in range(1, LONGEST_SEGMENT + 1) if self.lookback % step == 0 and self.horizon % step == 0
        )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "lookback", "horizon", "ensemble_size")
        yield from at_least(self, 0, "segment_length")
        length = self.segment_length
        if length > 1 and min(self.lookback, self.horizon) > 0 and (self.lookback % length or self.horizon % length):
            fitting = [
                step for step in range(1, self.lookback + 1) if self.lookback % step == 0 and self.horizon % step == 0
            ]
            near = sorted(fitting, key=lambda step: abs(step - length))[:2]
            reason = f"does not divide both --lookback={self.lookback} and --horizon={self.horizon}"
            yield Problem("segment_length", length, reason, f"use {' or '.join(str(step) for step in sorted(near))}")
        if self.ancestral and length > 1:
            reason = f"would draw the steps of a segment independently of each other, with --output={self.output}"
            yield Problem(
                "segment_length", length, reason, "leave it out, or use --segment_length=1 or --decoder=parallel"
            )
        yield from self._teacher_forcing_problems()
        if self.output != "point" or self.decoder != "parallel":
            other = f"--output={self.output}" if self.output != "point" else f"--decoder={self.decoder}"
            reason = f"is for a parallel decoder and one value a step, not {other}"
            if self.linear_skip == "average":
                yield Problem("linear_skip", self.linear_skip, reason, "use add")
            if self.ensemble_size > 1:
                yield Problem("ensemble_size", self.ensemble_size, reason, "leave it out")
        if self.output == "point" and self.quantiles != LEVELS:
            yield Problem(
                "quantiles", ",".join(self.quantiles), "has no effect with --output=point", "use --output=quantiles"
            )
        elif self.output != "point":
            yield from self._quantile_problems()

    def _teacher_forcing_problems(self) -> Iterator[Problem]:
        for name in ("teacher_forcing", "final_teacher_forcing"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                yield Problem(name, value, "is outside [0, 1]", "use a share from 0 to 1")
            if value is not None and self.decoder == "parallel":
                yield Problem(
                    name, value, "has no effect with --decoder=parallel", "use --decoder=autoregressive or leave it out"
                )
        first, last = self.teacher_forcing_course
        if self.final_teacher_forcing is not None and first == last:
            yield Problem(
                "final_teacher_forcing",
                last,
                "is the share at the start too",
                "leave it out, or use another --teacher_forcing",
            )

    def _quantile_problems(self) -> Iterator[Problem]:
        text = ",".join(self.quantiles)
        if self.forecast_loss != "mse":
            reason = f"has no effect with --output={self.output}"
            yield Problem("forecast_loss", self.forecast_loss, reason, "leave it out: the output decides on the loss")
        try:
            levels = self.levels
        except ValueError:
            yield Problem("quantiles", text, "is not a list of numbers", "give levels as in 0.1,0.5,0.9")
            return
        if not all(0 < level < 1 for level in levels) or any(high <= low for low, high in itertools.pairwise(levels)):
            yield Problem("quantiles", text, "does not rise between 0 and 1", "give levels as in 0.1,0.5,0.9")
        elif 0.5 not in levels:
            yield Problem("quantiles", text, "lacks the median, which is the point forecast", "add 0.5")


@dataclass(frozen=True)
class BacktestFlags(TaskEvaluateFlags):
    """Forecasts from rolling origins."""

    GROUP: ClassVar[str] = "backtest (forecast)"
    FIELD: ClassVar[str] = "backtest"

    backtest: bool = flag(
        "score forecasts from rolling origins at the end of the split, with tests against the baselines", default=False
    )
    windows: int | None = flag("origins to forecast from", default=None)
    stride: int | None = flag("time steps between two origins; without it the horizon", default=None)
    refit: bool = flag("train anew on the data before each origin, with the run's flags and budget", default=False)

    @property
    def scores_split(self) -> bool:
        return not self.backtest

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "windows", "stride")
        if self.backtest and self.windows is None:
            yield Problem("windows", None, "is missing", "give the number of origins to forecast from")
        for name in ("windows", "stride", "refit"):
            if not self.backtest and getattr(self, name):
                yield Problem(
                    name, getattr(self, name), "has no effect without --backtest", "add --backtest, or leave it out"
                )

    def problems_in(self, config: Any) -> Iterator[Problem]:
        if self.backtest and config.split == "train":
            yield Problem("split", config.split, "is what the model was trained on", "backtest on test or validation")


def conformal_problems(conformal: str, run: TrainConfig) -> Iterator[Problem]:
    """Yields a problem where a model trained with these flags has no intervals to calibrate."""
    forecast = run.of(ForecastFlags)
    if conformal == "none":
        return
    if forecast.output == "point":
        yield Problem(
            "conformal", conformal, "needs a model that forecasts quantiles", "train one with --output=quantiles"
        )
    elif not any(abs(low + high - 1) < 1e-9 for low, high in itertools.combinations(forecast.levels, 2)):
        remedy = "train with --quantiles that bound an interval, as in 0.1,0.5,0.9"
        yield Problem("conformal", conformal, f"finds no interval in the levels {','.join(forecast.quantiles)}", remedy)


@dataclass(frozen=True)
class CalibrationFlags(TaskEvaluateFlags):
    GROUP: ClassVar[str] = "calibration (forecast)"
    FIELD: ClassVar[str] = "calibration"

    conformal: str = flag(
        "calibrate the quantiles on the validation split, or each window on the last seven days that were over before "
        "it",
        default="none",
        choices=CONFORMAL,
    )

    def problems_in(self, config: Any) -> Iterator[Problem]:
        if self.conformal != "none" and (config.split == "train" or config.split == self.conformal):
            reason = f"would measure --split={config.split} by what it was fitted on"
            remedy = "use --split=test" + (" or --conformal=recent" if config.split != "train" else "")
            yield Problem("conformal", self.conformal, reason, remedy)

    def problems_with(self, run: TrainConfig) -> Iterator[Problem]:
        yield from conformal_problems(self.conformal, run)


@dataclass(frozen=True)
class ForecastExportFlags(TaskExportFlags):
    GROUP: ClassVar[str] = "forecast"
    FIELD: ClassVar[str] = "forecast"

    conformal: str = flag(
        "export quantiles calibrated on the validation split, or on the last seven days of the dataset",
        default="none",
        choices=CONFORMAL,
    )
    copula: str = flag(
        "how the steps of a sample path hang together, as they do in the validation split, or not at all",
        default="validation",
        choices=COPULA,
    )
    largest_num_samples: int = flag("most sample paths a request; more are refused", default=1000)

    def problems(self) -> Iterator[Problem]:
        yield from within(self, 2, 2**31, "largest_num_samples")

    def problems_in(self, config: Any) -> Iterator[Problem]:
        if config.data_dir and self.conformal == "none" and self.copula == "none":
            reason = "has no effect with --conformal=none --copula=none"
            yield Problem("data_dir", config.data_dir, reason, "use --conformal=recent or leave it out")

    def problems_with(self, run: TrainConfig) -> Iterator[Problem]:
        yield from conformal_problems(self.conformal, run)
        forecast = run.of(ForecastFlags)
        if self.copula == "none" and (forecast.output == "point" or forecast.ancestral):
            reason = (
                "has no effect: the model draws no paths"
                if forecast.output == "point"
                else "has no effect with --decoder=autoregressive"
            )
            yield Problem("copula", self.copula, reason, "leave it out")

    def reads_data(self, run: TrainConfig) -> bool:
        forecast = run.of(ForecastFlags)
        draws_paths = forecast.output != "point" and not forecast.ancestral
        return self.conformal != "none" or (draws_paths and self.copula == "validation")

    @property
    def without_data(self) -> str:
        return "leave out --conformal and use --copula=none"


@dataclass(frozen=True)
class ForecastPredictFlags(FlagGroup):
    GROUP: ClassVar[str] = "forecast"
    FIELD: ClassVar[str] = "forecast"

    num_samples: int = flag("write so many sample paths to --output, instead of the median and quantiles", default=0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "num_samples")

    def problems_in(self, config: Any) -> Iterator[Problem]:
        if self.num_samples > 0 and config.plot:
            yield Problem(
                "plot", config.plot, "shows quantiles, not the paths of --num_samples", "leave one of the two out"
            )


FLAGS = TaskFlags(
    sources=("csv", "npy", "tfds", "sample"),
    file_sources=("csv", "npy"),
    sample="sample series",
    tfds=TfdsFeatures(("values",), "numbers of shape [time] or [time, columns] in every record", are_series=True),
    prepare=(SeriesFlags,),
    train=(ForecastFlags,),
    evaluate=(BacktestFlags, CalibrationFlags),
    export=(ForecastExportFlags,),
    predict=(ForecastPredictFlags,),
)

"""The configuration of `train` and what all configurations are made of: frozen dataclasses, whose fields are the flags."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from trainer.config.places import Places
from trainer.errors import Problem
from trainer.storage.addresses import is_address

Config = TypeVar("Config")

TASKS = ("forecast", "language_model", "seq2seq")
LONGEST_SEGMENT = 24
SPLITS = ("train", "validation", "test")
CACHE_GIGABYTES = 16.0
CACHE_HELP = "largest size of this host's cache of shards from gs://"
OUTPUTS = ("point", "quantiles", "normal", "student_t", "negative_binomial")
LEVELS = ("0.05", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95")


def splits_through(split: str) -> tuple[str, ...]:
    """The splits up to and with `split`: a window's lookback may reach into those before."""
    return SPLITS[: SPLITS.index(split) + 1]


def flag(text: str, *, default: Any = dataclasses.MISSING, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field that is a flag; without a default the flag is required."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


def at_least(config: Any, smallest: float, *names: str) -> Iterator[Problem]:
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= smallest:
            yield Problem(name, value, f"is below {smallest}", f"use {smallest} or more")


def within(config: Any, low: float, high: float, *names: str) -> Iterator[Problem]:
    """Yields a problem for every named field outside [low, high)."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value < high:
            yield Problem(name, value, f"is outside [{low}, {high})", f"use a value from {low} to below {high}")


@dataclass(frozen=True)
class ForecastConfig:
    GROUP: ClassVar[str] = "forecast"

    lookback: int = flag("time steps that the model sees", default=96)
    horizon: int = flag("time steps that it forecasts", default=24)
    series: str = flag(
        "shared: one model for each series by itself; joint: all series at once", default="shared", choices=("shared", "joint")
    )
    segment_length: int = flag(
        f"time steps that one recurrent step reads and writes; 1 reads step by step; 0 takes the largest up to {LONGEST_SEGMENT} that fits",
        default=0,
    )
    decoder: str = flag(
        "parallel: all segments of the horizon at once; autoregressive: one after another, each from the forecast before it",
        default="parallel",
        choices=("parallel", "autoregressive"),
    )
    teacher_forcing: float | None = flag(
        "autoregressive: share of the segments that training tells the true values before them, instead of the model's own; without it 0 "
        "with --output=point, else 1",
        default=None,
    )
    final_teacher_forcing: float | None = flag(
        "the share at the end of training, which it changes to evenly (scheduled sampling); without it the same all along", default=None
    )
    linear_skip: str = flag(
        "ridge regression on the lookback, fitted before training. add: the network learns what it leaves over; average: it is trained by "
        "itself. A point forecast is a weighted mean of the regression and what was trained, its weight fitted to the validation split",
        default="none",
        choices=("none", "add", "average"),
    )
    ensemble_size: int = flag(
        "networks trained side by side, each from a start of its own on its share of every batch; the forecast is their mean", default=1
    )
    time_features: bool = flag("feed hour, weekday and month where the data has dates", default=False)
    output: str = flag("what is forecast: one value, quantiles, or a distribution's parameters", default="point", choices=OUTPUTS)
    quantiles: tuple[str, ...] = flag("levels of the quantiles that are forecast (every output but point)", default=LEVELS)
    forecast_loss: str = flag("what training minimises with --output=point", default="mse", choices=("mse", "mae"))

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
        """Time steps of a segment: as given, or the largest common divisor of lookback and horizon up to `LONGEST_SEGMENT`.

        An autoregressive decoder of a distribution draws value after value, each from the one before it.
        """
        if self.segment_length:
            return self.segment_length
        if self.ancestral:
            return 1
        return max(step for step in range(1, LONGEST_SEGMENT + 1) if self.lookback % step == 0 and self.horizon % step == 0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "lookback", "horizon", "ensemble_size")
        yield from at_least(self, 0, "segment_length")
        length = self.segment_length
        if length > 1 and min(self.lookback, self.horizon) > 0 and (self.lookback % length or self.horizon % length):
            fitting = [step for step in range(1, self.lookback + 1) if self.lookback % step == 0 and self.horizon % step == 0]
            near = sorted(fitting, key=lambda step: abs(step - length))[:2]
            told = f"does not divide both --lookback={self.lookback} and --horizon={self.horizon}"
            yield Problem("segment_length", length, told, f"use {' or '.join(str(step) for step in sorted(near))}")
        if self.ancestral and length > 1:
            told = f"would draw the steps of a segment independently of each other, with --output={self.output}"
            yield Problem("segment_length", length, told, "leave it out, or use --segment_length=1 or --decoder=parallel")
        yield from self._teacher_forcing_problems()
        if self.output != "point" or self.decoder != "parallel":
            other = f"--output={self.output}" if self.output != "point" else f"--decoder={self.decoder}"
            told = f"is for a parallel decoder and one value a step, not {other}"
            if self.linear_skip == "average":
                yield Problem("linear_skip", self.linear_skip, told, "use add")
            if self.ensemble_size > 1:
                yield Problem("ensemble_size", self.ensemble_size, told, "leave it out")
        if self.output == "point" and self.quantiles != LEVELS:
            yield Problem("quantiles", ",".join(self.quantiles), "has no effect with --output=point", "use --output=quantiles")
        elif self.output != "point":
            yield from self._quantile_problems()

    def _teacher_forcing_problems(self) -> Iterator[Problem]:
        for name in ("teacher_forcing", "final_teacher_forcing"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                yield Problem(name, value, "is outside [0, 1]", "use a share from 0 to 1")
            if value is not None and self.decoder == "parallel":
                yield Problem(name, value, "has no effect with --decoder=parallel", "use --decoder=autoregressive or leave it out")
        first, last = self.teacher_forcing_course
        if self.final_teacher_forcing is not None and first == last:
            yield Problem("final_teacher_forcing", last, "is the share at the start too", "leave it out, or use another --teacher_forcing")

    def _quantile_problems(self) -> Iterator[Problem]:
        given = ",".join(self.quantiles)
        if self.forecast_loss != "mse":
            told = f"has no effect with --output={self.output}"
            yield Problem("forecast_loss", self.forecast_loss, told, "leave it out: the output decides on the loss")
        try:
            levels = self.levels
        except ValueError:
            yield Problem("quantiles", given, "is no list of numbers", "give levels as in 0.1,0.5,0.9")
            return
        if not all(0 < level < 1 for level in levels) or any(high <= low for low, high in itertools.pairwise(levels)):
            yield Problem("quantiles", given, "does not rise between 0 and 1", "give levels as in 0.1,0.5,0.9")
        elif 0.5 not in levels:
            yield Problem("quantiles", given, "lacks the median, which is the point forecast", "add 0.5")


@dataclass(frozen=True)
class LanguageConfig:
    GROUP: ClassVar[str] = "language model"

    sequence_length: int = flag("tokens that every lane (or document window) reads a step", default=128)
    ngram_order: int = flag("add embeddings of the last 2 to so many tokens to the last one's; 1 adds none", default=1)
    ngram_rows: int = flag("largest embedding table of an n-gram order; n-grams beyond share rows by a hash", default=16384)
    ngram_dropout: float = flag("share of the n-gram embeddings that are dropped, each order by itself", default=0.0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "sequence_length", "ngram_order")
        yield from at_least(self, 2, "ngram_rows")
        yield from within(self, 0, 1, "ngram_dropout")


@dataclass(frozen=True)
class TranslationConfig:
    GROUP: ClassVar[str] = "seq2seq"

    attention: str = flag(
        "how source steps are scored", default="luong_scaled", choices=("luong_general", "luong_scaled", "bahdanau", "bahdanau_normalized")
    )
    input_feeding: bool = flag("feed the decoder's last output to its next step; training then goes token by token", default=False)
    label_smoothing: float = flag("share of the probability that training aims at all tokens alike", default=0.0)
    batch_unit: str = flag(
        "what --batch_size counts: sentences (pairs), or tokens (of the longer side, padding included)",
        default="sentences",
        choices=("sentences", "tokens"),
    )
    best_metric: str = flag(
        "validation score that picks the best checkpoint and stops early; bleu and exact_match translate the split, greedily",
        default="loss",
        choices=("loss", "bleu", "exact_match"),
    )

    def problems(self) -> Iterator[Problem]:
        yield from within(self, 0, 1, "label_smoothing")


@dataclass(frozen=True)
class TokenConfig:
    GROUP: ClassVar[str] = "tokens (language model, seq2seq)"

    embedding_size: int = flag("width of the token embedding; 0 is --units", default=0)
    tie_weights: bool = flag("use the (target) embedding as the output matrix too", default=False)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "embedding_size")


@dataclass(frozen=True)
class ModelConfig:
    GROUP: ClassVar[str] = "model"

    cell: str = flag("recurrent cell", default="lstm", choices=("lstm", "gru"))
    num_layers: int = flag("recurrent layers", default=1)
    units: int = flag("units of a layer", default=128)
    dropout: float = flag("share of activations dropped between layers and before the output", default=0.0)

    variational_dropout: bool = flag("drop the same units at all time steps of a sequence", default=False)
    recurrent_dropout: float = flag("share of the recurrent weights dropped, the same ones at all time steps of a batch", default=0.0)
    residual: bool = flag("add each layer's input to its output, from the second layer on", default=False)
    layer_norm: bool = flag("normalise the output of every layer", default=False)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "num_layers", "units")
        yield from within(self, 0, 1, "dropout", "recurrent_dropout")


@dataclass(frozen=True)
class OptimizerConfig:
    GROUP: ClassVar[str] = "optimizer"

    optimizer: str = flag(
        "update rule; muon is for the matrices of recurrent layers, with adamw for all else",
        default="adam",
        choices=("adam", "adamw", "muon", "sgd"),
    )
    learning_rate: float = flag("highest learning rate of the schedule", default=1e-3)
    schedule: str = flag("course of the learning rate after the warm-up", default="cosine", choices=("constant", "linear", "cosine"))
    warmup_steps: int = flag("steps over which the learning rate rises from 0", default=0)
    clip_norm: float = flag("largest global norm of the gradients, after the reduction over replicas; 0 is no clipping", default=1.0)
    weight_decay: float = flag("decoupled weight decay a step, times the learning rate (adamw, muon, sgd); matrices only", default=0.0)
    momentum: float = flag("momentum of sgd", default=0.0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "warmup_steps", "clip_norm", "weight_decay")
        yield from within(self, 0, 1, "momentum")
        if not 0 < self.learning_rate < math.inf:
            yield Problem("learning_rate", self.learning_rate, "is not a positive number", "use one such as 0.001")
        if self.optimizer == "adam" and self.weight_decay:
            yield Problem("weight_decay", self.weight_decay, "has no effect with --optimizer=adam", "use --optimizer=adamw")
        if self.optimizer != "sgd" and self.momentum:
            yield Problem("momentum", self.momentum, f"has no effect with --optimizer={self.optimizer}", "use --optimizer=sgd")


@dataclass(frozen=True)
class BudgetConfig:
    GROUP: ClassVar[str] = "training"
    ALTERNATIVES: ClassVar[tuple[str, ...]] = ("train_steps", "epochs", "train_seconds")

    batch_size: int = flag("examples a step over all replicas (the global batch)", default=32)
    accumulate_steps: int = flag("parts in which a device computes its share of a step, one after the other, to save memory", default=1)
    train_steps: int | None = flag("stop after this many steps", default=None)
    epochs: float | None = flag("stop after this many passes over the training split", default=None)
    train_seconds: float | None = flag("stop after this much training time; the schedule is stretched to it", default=None)
    evaluate_every_steps: int = flag("validate after every so many steps; 0 is once an epoch (at the latest at the end)", default=0)
    save_every_steps: int = flag("save after every so many steps; 0 is at every validation", default=0)
    keep_checkpoints: int = flag("last checkpoints kept, beside the best", default=3)
    early_stop_patience: int = flag("stop after so many validations without a better score; 0 is never", default=0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "batch_size", "accumulate_steps", "train_steps", "keep_checkpoints")
        yield from at_least(self, 0, "evaluate_every_steps", "save_every_steps", "early_stop_patience")
        for name in ("epochs", "train_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                yield Problem(name, value, "is not a positive number", "use a number above 0")
        given = [name for name in self.ALTERNATIVES if getattr(self, name) is not None]
        if len(given) != 1:
            told = "are all given: " + ", ".join(f"--{name}" for name in given) if given else "is missing"
            yield Problem("train_steps", self.train_steps, told, "give one of --train_steps, --epochs, --train_seconds")


@dataclass(frozen=True)
class DeviceConfig:
    GROUP: ClassVar[str] = "devices"

    strategy: str = flag("how devices share the work", default="auto", choices=("auto", "one_device", "mirrored", "multi_worker"))
    devices_per_worker: int = flag("devices of this host to use; 0 is every GPU, or one CPU device", default=0)
    precision: str = flag("number format of the products", default="float32", choices=("float32", "bfloat16", "float16"))
    jit_compile: bool = flag("compile the loss and its gradients with XLA", default=False)
    kernel: str = flag("how recurrent layers run; auto takes cudnn on GPUs", default="auto", choices=("auto", "cudnn", "cpu"))
    deterministic: bool = flag("use deterministic kernels on GPUs, slower (CPU runs repeat bit for bit anyway)", default=False)
    grace_seconds: float = flag("longest time from SIGTERM to the exit with 75, in which the run saves", default=25.0)
    peer_timeout_seconds: float = flag("many workers: longest time without a step, a validation batch or a save", default=300.0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "devices_per_worker")
        for name in ("grace_seconds", "peer_timeout_seconds"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                yield Problem(name, value, "is not a positive number", "use a number of seconds above 0")
        if self.kernel == "cudnn" and self.jit_compile:
            yield Problem("kernel", self.kernel, "cannot be compiled by --jit_compile", "leave one of the two out")
        if self.strategy == "one_device" and self.devices_per_worker > 1:
            yield Problem(
                "strategy", self.strategy, f"does not use --devices_per_worker={self.devices_per_worker}", "use --strategy=mirrored"
            )


@dataclass(frozen=True)
class StorageConfig:
    GROUP: ClassVar[str] = "Cloud Storage"

    gcs: str = flag(
        "how shards are read from gs://: stage copies them into this host's cache, stream has TensorFlow read them in the bucket",
        default="stage",
        choices=("stage", "stream"),
    )
    cache_gigabytes: float = flag(CACHE_HELP, default=CACHE_GIGABYTES)

    def problems_with(self, data_dir: str) -> Iterator[Problem]:
        if self.gcs == "stream" and not is_address(data_dir):
            yield Problem("gcs", self.gcs, f"has no effect with --data_dir={data_dir}", "leave it out, or give a gs:// address")
        yield from cache_problems(self.cache_gigabytes, data_dir)
        if self.gcs == "stream" and self.cache_gigabytes != CACHE_GIGABYTES:
            yield Problem("cache_gigabytes", self.cache_gigabytes, "has no effect with --gcs=stream", "leave it out")


def cache_problems(gigabytes: float, data_dir: str) -> Iterator[Problem]:
    if not 0 < gigabytes < math.inf:
        yield Problem("cache_gigabytes", gigabytes, "is not a positive number", "use a number above 0")
    elif gigabytes != CACHE_GIGABYTES and not is_address(data_dir):
        yield Problem("cache_gigabytes", gigabytes, f"has no effect with --data_dir={data_dir}", "leave it out, or give a gs:// address")


@dataclass(frozen=True)
class DebugConfig:
    GROUP: ClassVar[str] = "debugging"

    dry_run: bool = flag("check configuration, data and model, take one step, write nothing", default=False)
    check_numerics: bool = flag("stop at the first op that makes a NaN or an infinity, and name it (slow)", default=False)
    profile_steps: tuple[str, ...] = flag("first and last step of a TensorBoard profile, as in 10,20", default=())

    def problems(self) -> Iterator[Problem]:
        if self.profile_steps and self.profile_range() is None:
            yield Problem("profile_steps", ",".join(self.profile_steps), "is no range of steps", "give first,last as in 10,20")

    def profile_range(self) -> tuple[int, int] | None:
        """First and last step to profile; None where none were asked for or they are no range."""
        if len(self.profile_steps) != 2 or not all(step.isdigit() for step in self.profile_steps):
            return None
        first, last = int(self.profile_steps[0]), int(self.profile_steps[1])
        return (first, last) if 1 <= first <= last else None


@dataclass(frozen=True)
class TrainConfig:
    """`python -m trainer.train`."""

    GROUP: ClassVar[str] = "run"
    TAKES_RECIPE: ClassVar[bool] = True

    data_dir: str = flag("dataset that trainer.prepare wrote")
    model_dir: str = flag("directory of checkpoints and logs; an existing one is resumed")
    seed: int = flag("seed of the weights, the order of the data and the noise", default=0)
    forecast: ForecastConfig = dataclasses.field(default_factory=ForecastConfig)
    language: LanguageConfig = dataclasses.field(default_factory=LanguageConfig)
    translation: TranslationConfig = dataclasses.field(default_factory=TranslationConfig)
    token: TokenConfig = dataclasses.field(default_factory=TokenConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimization: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    budget: BudgetConfig = dataclasses.field(default_factory=BudgetConfig)
    device: DeviceConfig = dataclasses.field(default_factory=DeviceConfig)
    storage: StorageConfig = dataclasses.field(default_factory=StorageConfig)
    debug: DebugConfig = dataclasses.field(default_factory=DebugConfig)

    @property
    def batch_rows(self) -> int | None:
        """Rows of every global batch; None where `--batch_size` counts tokens and the data tells the rows."""
        return self.budget.batch_size if self.translation.batch_unit == "sentences" else None

    def places(self) -> Places:
        return Places(read_directories={"data_dir": self.data_dir}, written_directories={"model_dir": self.model_dir})

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "seed")
        sections = (self.forecast, self.language, self.translation, self.token, self.model, self.optimization, self.budget, self.device)
        for section in (*sections, self.debug):
            yield from section.problems()
        yield from self.storage.problems_with(self.data_dir)


def to_dict(config: Any) -> dict[str, Any]:
    return dataclasses.asdict(config)


def from_dict(config_class: type[Config], values: dict[str, Any], path: str = "") -> Config:
    """Rebuilds a configuration from `to_dict`'s result (or its JSON).

    Raises:
      ValueError: a field is missing or unknown; the text names it.
    """
    hints = typing.get_type_hints(config_class)
    names = {field.name for field in dataclasses.fields(typing.cast(Any, config_class))}
    for odd in names.symmetric_difference(values):
        raise ValueError(f"{path}{odd} is {'missing' if odd in names else 'unknown'}")
    arguments = {}
    for name in names:
        value = values[name]
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(typing.cast(type, hints[name]), value, f"{path}{name}.")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**arguments)

"""Configurations of the commands that use a trained model: `evaluate`, `export` and `predict`."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trainer.config.places import Places
from trainer.config.train import SPLITS, ForecastConfig, StorageConfig, at_least, flag, within
from trainer.errors import ConfigError, Problem

CONFORMAL = ("none", "validation", "recent")
DEPENDENCE = ("validation", "none")
LARGEST_SEED = 2**43  # each line gets a seed of its own, 64 bits wide
MODEL_FILE = "saved_model.pb"  # in each version of an export


@dataclass(frozen=True)
class SearchConfig:
    """How translations are searched."""

    GROUP: ClassVar[str] = "translation"

    beam_size: int = flag("translations that grow at once; 1 with --length_penalty=0 is greedy search", default=5)
    length_penalty: float = flag("exponent of the length that log probabilities are divided by; 0 ranks by log probability", default=0.6)
    coverage_penalty: float = flag("weight of the penalty on source tokens that got less attention than 1 in total", default=0.0)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "beam_size")
        yield from at_least(self, 0, "length_penalty", "coverage_penalty")


@dataclass(frozen=True)
class LimitsConfig:
    """What a request to an exported model may ask at most."""

    GROUP: ClassVar[str] = "limits of requests"

    largest_max_tokens: int = flag("language models: most new tokens that a prompt gets, however many its max_tokens asks", default=4096)
    largest_prompt_tokens: int = flag("language models: most tokens of a prompt; a longer one is refused", default=4096)
    largest_text_tokens: int = flag("language models: most tokens of a text that is scored or encoded", default=1_000_000)
    largest_source_tokens: int = flag("most tokens of a text to translate; a longer one is refused", default=1024)
    largest_num_samples: int = flag("forecasts: most sample paths a request; more are refused", default=1000)

    def problems(self) -> Iterator[Problem]:
        yield from within(self, 1, 2**31, "largest_max_tokens")
        yield from within(self, 2, 2**31, "largest_num_samples")
        # room for the examples that an export is checked with
        yield from within(self, 32, 2**31, "largest_prompt_tokens", "largest_text_tokens", "largest_source_tokens")


@dataclass(frozen=True)
class BacktestConfig:
    """Forecasts from rolling origins."""

    GROUP: ClassVar[str] = "backtest (forecast)"

    backtest: bool = flag("score forecasts from rolling origins at the end of the split, with tests against the baselines", default=False)
    windows: int | None = flag("origins to forecast from", default=None)
    stride: int | None = flag("time steps between two origins; without it the horizon", default=None)
    refit: bool = flag("train anew on the data before each origin, with the run's flags and budget", default=False)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "windows", "stride")
        if self.backtest and self.windows is None:
            yield Problem("windows", None, "is missing", "give the number of origins to forecast from")
        for name in ("windows", "stride", "refit"):
            if not self.backtest and getattr(self, name):
                yield Problem(name, getattr(self, name), "has no effect without --backtest", "add --backtest, or leave it out")


@dataclass(frozen=True)
class EvaluateConfig:
    """`python -m trainer.evaluate`."""

    GROUP: ClassVar[str] = "evaluate"

    model_dir: str = flag("directory that trainer.train wrote")
    data_dir: str = flag("dataset to score on")
    split: str = flag("split to score", default="test", choices=SPLITS)
    batch_size: int = flag("examples scored at once", default=256)
    checkpoint: str = flag("which weights", default="best", choices=("best", "last"))
    average_checkpoints: int = flag("take the mean weights of the last so many checkpoints instead; 0 does not", default=0)
    conformal: str = flag(
        "forecasts: calibrate the quantiles on the validation split, or each window on the last seven days that were over before it",
        default="none",
        choices=CONFORMAL,
    )
    report_dir: str = flag("directory for evaluation.json (all scores, by step and by series too) and report.html", default="")
    rolling: BacktestConfig = dataclasses.field(default_factory=BacktestConfig)
    storage: StorageConfig = dataclasses.field(default_factory=StorageConfig)
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)

    def places(self) -> Places:
        return Places(
            read_directories={"model_dir": self.model_dir, "data_dir": self.data_dir},
            written_directories={"report_dir": self.report_dir},
        )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "batch_size")
        yield from at_least(self, 0, "average_checkpoints")
        yield from self.rolling.problems()
        yield from self.storage.problems_with(self.data_dir)
        yield from self.search.problems()
        if self.rolling.backtest and self.split == "train":
            yield Problem("split", self.split, "is what the model was trained on", "backtest on test or validation")
        if self.conformal != "none" and (self.split == "train" or self.split == self.conformal):
            told = f"would measure --split={self.split} by what it was fitted on"
            yield Problem(
                "conformal", self.conformal, told, "use --split=test" + (" or --conformal=recent" if self.split != "train" else "")
            )


@dataclass(frozen=True)
class ExportConfig:
    """`python -m trainer.export`."""

    GROUP: ClassVar[str] = "export"

    model_dir: str = flag("directory that trainer.train wrote")
    export_dir: str = flag("directory that gets a numbered version")
    checkpoint: str = flag("which weights", default="best", choices=("best", "last"))
    average_checkpoints: int = flag("take the mean weights of the last so many checkpoints instead; 0 does not", default=0)
    conformal: str = flag(
        "forecasts: export quantiles calibrated on the validation split, or on the last seven days of the dataset",
        default="none",
        choices=CONFORMAL,
    )
    dependence: str = flag(
        "forecasts: how the steps of a sample path hang together, as they do in the validation split, or not at all",
        default="validation",
        choices=DEPENDENCE,
    )
    data_dir: str = flag("dataset of --conformal and --dependence; empty is where the training run had it", default="")
    n_best: int = flag("translations that serving_default gives for a text, best first", default=1)
    batch_size: int = flag("rows that every request has, for runtimes that want all sizes beforehand; 0 is any number", default=0)
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)

    def places(self) -> Places:
        return Places(
            read_directories={"model_dir": self.model_dir, "data_dir": self.data_dir},
            written_directories={"export_dir": self.export_dir},
        )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "n_best")
        yield from at_least(self, 0, "average_checkpoints")
        yield from within(self, 0, 2**31, "batch_size")
        yield from self.search.problems()
        yield from self.limits.problems()
        if self.data_dir and self.conformal == "none" and self.dependence == "none":
            told = "has no effect with --conformal=none --dependence=none"
            yield Problem("data_dir", self.data_dir, told, "use --conformal=recent or leave it out")
        if self.n_best > self.search.beam_size > 0:
            yield Problem("n_best", self.n_best, f"is above --beam_size={self.search.beam_size}", "use a larger beam or fewer translations")


@dataclass(frozen=True)
class PredictConfig:
    """`python -m trainer.predict`."""

    GROUP: ClassVar[str] = "predict"

    export_dir: str = flag("directory of an exported model: its newest version is used, or the version itself")
    input: tuple[str, ...] = flag(
        "path, glob or comma list: CSV files with the history, or text with a prompt or sentence a line (- is stdin)"
    )
    output: str = flag("file for the predictions: CSV, JSON lines for completions, or a translation a line", default="")
    plot: str = flag("PNG file for a plot of history and forecast, or of the attention over one sentence", default="")
    batch_size: int | None = flag("examples predicted at once; without it 256, or the batch that the model was exported with", default=None)
    num_samples: int = flag("forecasts: write so many sample paths to --output, instead of the median and quantiles", default=0)
    decoding: str = flag("how translations are found", default="beam", choices=("beam", "greedy", "sample"))
    n_best: int = flag("translations of a sentence, best first; more than 1 are written as JSON lines", default=1)
    max_tokens: int = flag("most new tokens a prompt", default=200)
    temperature: float = flag("1 samples from the model's probabilities, less is bolder, 0 takes the likeliest token", default=1.0)
    top_k: int = flag("sample among so many likeliest tokens; 0 is all", default=0)
    top_p: float = flag("sample among the likeliest tokens that together reach this probability", default=1.0)
    seed: int = flag("seed of the sampling: the same gives the same text or paths again", default=0)

    @property
    def _names_a_version(self) -> bool:
        place = Path(self.export_dir)
        return place.name.isdigit() or (place / MODEL_FILE).is_file()

    def places(self) -> Places:
        return Places(
            read_files={"input": self.input},
            read_directories={"export_dir": self.export_dir},
            filled_directories=frozenset({"export_dir"} if self._names_a_version else ()),
            written_files={"output": self.output, "plot": self.plot},
        )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "batch_size", "n_best", "max_tokens")
        yield from at_least(self, 0, "num_samples")
        yield from within(self, 0, 2**31, "top_k")
        yield from within(self, 0, math.inf, "temperature")
        yield from within(self, 0, LARGEST_SEED, "seed")
        if self.num_samples > 0 and self.plot:
            yield Problem("plot", self.plot, "shows quantiles, not the paths of --num_samples", "leave one of the two out")
        if not 0 < self.top_p <= 1:
            yield Problem("top_p", self.top_p, "is outside (0, 1]", "use a value above 0, up to 1")
        if not self.input:
            yield Problem("input", None, "is missing", "name the files to read")


def check_dependence(config: ExportConfig, forecast: ForecastConfig) -> bool:
    """Whether the export of a model trained with these flags reads data; raises ConfigError where flags ask for it in vain."""
    parallel_paths = forecast.output != "point" and not forecast.ancestral
    if config.dependence == "none" and not parallel_paths:
        told = "has no effect: the model draws no paths" if forecast.output == "point" else "has no effect with --decoder=autoregressive"
        raise ConfigError([Problem("dependence", config.dependence, told, "leave it out")])
    reads = config.conformal != "none" or (parallel_paths and config.dependence == "validation")
    if config.data_dir and not reads:
        raise ConfigError([Problem("data_dir", config.data_dir, "has no effect with this model", "leave it out")])
    return reads


def check_conformal(wanted: str, forecast: ForecastConfig) -> None:
    """Raises ConfigError where a model trained with these flags has no intervals to calibrate."""
    if wanted == "none":
        return
    if forecast.output == "point":
        raise ConfigError([Problem("conformal", wanted, "needs a model that forecasts quantiles", "train one with --output=quantiles")])
    if not any(abs(low + high - 1) < 1e-9 for low, high in itertools.combinations(forecast.levels, 2)):
        remedy = "train with --quantiles that bound an interval, as in 0.1,0.5,0.9"
        raise ConfigError([Problem("conformal", wanted, f"finds no interval in the levels {','.join(forecast.quantiles)}", remedy)])

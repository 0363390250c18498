"""Configurations of the commands that use a trained model: `evaluate`, `export` and `predict`. Tasks add groups of
flags of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trainer.config.fields import Configuration, FlagGroup, at_least, flag, within
from trainer.config.places import Places
from trainer.config.splits import SPLITS
from trainer.config.storage import StorageFlags
from trainer.config.train import TrainConfig
from trainer.errors import Problem
from trainer.storage.plain_path import PATTERN_CHARACTERS, is_pattern_to_tensorflow

LARGEST_SEED = 2**43  # each line gets a seed of its own, 64 bits wide
MODEL_FILE = "saved_model.pb"  # in each version of an export


class TrainedModelFlags(FlagGroup):
    """Base of the groups that a task brings for commands that read a model directory."""

    def problems_with(self, run: TrainConfig) -> Iterator[Problem]:
        """Yields what does not fit a model that was trained with the flags `run`."""
        yield from ()


class TaskEvaluateFlags(TrainedModelFlags):
    """Base of the groups that a task brings for the evaluation."""

    @property
    def scores_split(self) -> bool:
        """Whether every example of the split is scored, so that the scores are those of the split."""
        return True


class TaskExportFlags(TrainedModelFlags):
    """Base of the groups that a task brings for the export."""

    def reads_data(self, run: TrainConfig) -> bool:
        """Whether the export of such a model reads its dataset."""
        return False

    @property
    def without_data(self) -> str:
        """The remedy where `reads_data` and the dataset is gone."""
        return ""


class TrainedModelConfig(Configuration):
    """Base of the commands that read a model directory."""

    model_dir: str

    def problems_with(self, run: TrainConfig) -> Iterator[Problem]:
        """Yields what does not fit a model that was trained with the flags `run`."""
        for group in self.groups:
            if isinstance(group, TrainedModelFlags):
                yield from group.problems_with(run)


@dataclass(frozen=True)
class EvaluateConfig(TrainedModelConfig):
    """`python -m trainer.evaluate`."""

    GROUP: ClassVar[str] = "evaluate"

    model_dir: str = flag("directory that trainer.train wrote")
    data_dir: str = flag("dataset to score on")
    split: str = flag("split to score", default="test", choices=SPLITS)
    batch_size: int = flag("examples scored at once", default=256)
    checkpoint: str = flag("which weights", default="best", choices=("best", "last"))
    average_checkpoints: int = flag(
        "take the mean weights of the last so many checkpoints instead; 0 does not", default=0
    )
    report_dir: str = flag(
        "directory for evaluation.json (all scores, by step and by series too) and report.html", default=""
    )
    storage: StorageFlags = dataclasses.field(default_factory=StorageFlags)

    @property
    def scores_split(self) -> bool:
        """Whether every example of the split is scored."""
        return all(group.scores_split for group in self.groups if isinstance(group, TaskEvaluateFlags))

    def places(self) -> Places:
        return Places(
            read_directories={"model_dir": self.model_dir, "data_dir": self.data_dir},
            written_directories={"report_dir": self.report_dir},
        )

    def command_problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "batch_size")
        yield from at_least(self, 0, "average_checkpoints")


@dataclass(frozen=True)
class ExportConfig(TrainedModelConfig):
    """`python -m trainer.export`."""

    GROUP: ClassVar[str] = "export"

    model_dir: str = flag("directory that trainer.train wrote")
    export_dir: str = flag("directory that gets a numbered version")
    checkpoint: str = flag("which weights", default="best", choices=("best", "last"))
    average_checkpoints: int = flag(
        "take the mean weights of the last so many checkpoints instead; 0 does not", default=0
    )
    data_dir: str = flag(
        "dataset, for exports that read it (forecasts with --conformal or --copula); empty is where the training run "
        "had it",
        default="",
    )
    batch_size: int = flag(
        "rows that every request has, for runtimes that want all sizes beforehand; 0 is any number", default=0
    )

    def reading_groups(self, run: TrainConfig) -> tuple[TaskExportFlags, ...]:
        """The groups for which the export of a model that was trained with the flags `run` reads its dataset."""
        groups = (group for group in self.groups if isinstance(group, TaskExportFlags))
        return tuple(group for group in groups if group.reads_data(run))

    def problems_with(self, run: TrainConfig) -> Iterator[Problem]:
        """Yields what does not fit a model that was trained with the flags `run`."""
        yield from super().problems_with(run)
        if self.data_dir and not self.reading_groups(run):
            yield Problem("data_dir", self.data_dir, "has no effect with this model", "leave it out")

    def places(self) -> Places:
        return Places(
            read_directories={"model_dir": self.model_dir, "data_dir": self.data_dir},
            written_directories={"export_dir": self.export_dir},
        )

    def command_problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "average_checkpoints")
        yield from within(self, 0, 2**31, "batch_size")
        if is_pattern_to_tensorflow(self.export_dir):
            reason = f"has one of {' '.join(PATTERN_CHARACTERS)}, with which TensorFlow cannot load a model from there"
            yield Problem("export_dir", self.export_dir, reason, "name another directory")


@dataclass(frozen=True)
class PredictConfig(Configuration):
    """`python -m trainer.predict`."""

    GROUP: ClassVar[str] = "predict"

    export_dir: str = flag("directory of an exported model: its newest version is used, or the version itself")
    input: tuple[str, ...] = flag(
        "path, glob or comma list: CSV files with the history, or text with a prompt or sentence a line (- is stdin)"
    )
    output: str = flag("file for the predictions: CSV, JSON lines for completions, or a translation a line", default="")
    plot: str = flag("PNG file for a plot of history and forecast, or of the attention over one sentence", default="")
    batch_size: int | None = flag(
        "examples predicted at once; without it 256, or the batch that the model was exported with", default=None
    )
    seed: int = flag("seed of what is drawn: the same gives the same text or paths again", default=0)

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

    def command_problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "batch_size")
        yield from within(self, 0, LARGEST_SEED, "seed")
        if not self.input:
            yield Problem("input", None, "is missing", "name the files to read")

"""The configuration of `prepare`: what any task has a use for. Tasks add groups of flags of their own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from trainer.config.fields import Configuration, FlagGroup, at_least, flag
from trainer.config.places import Places
from trainer.config.task_flags import TaskFlags
from trainer.errors import Problem

LONGEST_NAME = 100  # characters of a dataset's name
INPUTS = {"train": "input", "validation": "validation_input", "test": "test_input"}  # split -> the flag of its files


@dataclass(frozen=True)
class TfdsFlags(FlagGroup):
    GROUP: ClassVar[str] = "TensorFlow Datasets"
    FIELD: ClassVar[str] = "tfds"

    tfds_name: str = flag("name of the dataset, as in NAME, NAME/CONFIG or NAME:VERSION", default="")
    tfds_dir: str = flag(
        "directory of TFDS's datasets, or of one version of one (then without --tfds_name)", default=""
    )
    feature_map: tuple[str, ...] = flag(
        "features to read where several fit: values=NAME (forecast), text=NAME (language_model), "
        "source=NAME,target=NAME (seq2seq)",
        default=(),
    )

    def problems_in(self, config: Any) -> Iterator[Problem]:
        if config.source != "tfds":
            for problem in self.without_effect(f"has no effect with --source={config.source}"):
                yield dataclasses.replace(problem, remedy="leave it out, or use --source=tfds")
            return
        if not self.tfds_name and not self.tfds_dir:
            yield Problem("tfds_name", None, "is missing", "name the dataset, or its directory with --tfds_dir")
        if not config.input and (config.validation_input or config.test_input):
            yield Problem("input", None, "is missing", "name the split to train on too, as in --input=train")
        features = config.TASKS[config.task].tfds
        entries = [entry.partition("=") for entry in self.feature_map]
        roles = features.roles if features is not None else ()
        if entries and (
            sorted(role for role, _, _ in entries) != sorted(roles) or not all(name for _, _, name in entries)
        ):
            right = ",".join(f"{role}=NAME" for role in roles)
            reason = f"does not fit --task={config.task}"
            yield Problem("feature_map", ",".join(self.feature_map), reason, f"give --feature_map={right}")


@dataclass(frozen=True)
class PrepareConfig(Configuration):
    """`python -m trainer.prepare`."""

    GROUP: ClassVar[str] = "prepare"
    TASKS: ClassVar[Mapping[str, TaskFlags]] = {}

    task: str = flag("what the sequences are for")
    source: str = flag("where they come from")
    output_dir: str = flag("directory of the dataset; must not hold another one")
    name: str = flag(
        "what the dataset is called, in reports, on model cards and in the names of its files; without it the files' "
        "common name, or that"
        " of TFDS",
        default="",
    )
    input: tuple[str, ...] = flag(
        "path, glob or comma list of files; pairs: source_file,target_file (line-aligned), or one file with a tab "
        "between;"
        " tfds: split to train on, as in train[:90%], instead of the splits by their names",
        default=(),
    )
    validation_input: tuple[str, ...] = flag(
        "files that are the validation split, instead of a part of --input", default=()
    )
    test_input: tuple[str, ...] = flag("files that are the test split, instead of a part of --input", default=())
    splits: tuple[str, ...] = flag(
        "sizes of train, validation, test in the source's order: fractions (0.7,0.1,0.2) or counts (8640,2880,2880) "
        "of rows,"
        " characters of a stream, documents, or pairs",
        default=("0.7", "0.1", "0.2"),
    )
    num_shards: int = flag("TFRecord shards a split", default=8)
    num_processes: int = flag("processes that read and write; 0 is one a core", default=0)
    num_tasks: int = flag(
        "tasks that prepare this dataset together, on hosts that share --output_dir or its gs:// address", default=1
    )
    task_index: int | None = flag(
        "which of the tasks this is, from 0; without it the index of the pod in an Indexed Job (JOB_COMPLETION_INDEX)",
        default=None,
    )
    finish: bool = flag(
        "make nothing, but complete the dataset if all --num_tasks have run; else name those that have not",
        default=False,
    )
    seed: int = flag("seed of --source=sample", default=0)
    tfds: TfdsFlags = dataclasses.field(default_factory=TfdsFlags)

    @property
    def groups_in_use(self) -> tuple[FlagGroup, ...]:
        foreign = self.foreign_groups(self.task)
        return tuple(group for group in self.groups if group not in foreign)

    @property
    def reads_files(self) -> bool:
        return self.source in self.TASKS[self.task].file_sources

    def places(self) -> Places:
        files = {name: getattr(self, name) for name in INPUTS.values()}
        return Places(
            read_files=files if self.reads_files else {},  # those of tfds are splits
            read_directories={"tfds_dir": self.tfds.tfds_dir},
            written_directories={"output_dir": self.output_dir},
        )

    def command_problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "num_shards", "num_tasks")
        yield from at_least(self, 0, "num_processes", "seed", "task_index")
        if not self.name.isprintable():
            yield Problem("name", ascii(self.name), "has characters that cannot be printed", "leave them out")
        elif len(self.name) > LONGEST_NAME:
            yield Problem("name", self.name, f"has {len(self.name)} characters", f"give at most {LONGEST_NAME}")
        fitting = self.TASKS[self.task].sources
        if self.source not in fitting:
            remedy = f"use {' or '.join(f'--source={source}' for source in fitting)}"
            yield Problem("source", self.source, f"is nothing for --task={self.task}", remedy)
        if self.reads_files and not self.input:
            yield Problem("input", None, "is missing", "name the files to read, as in --input='data/*.csv'")
        if self.source == "sample" and (self.input or self.validation_input or self.test_input):
            yield Problem("source", self.source, "reads no files", f"leave out --input, or use --source={fitting[0]}")
        yield from self.foreign_problems(self.task, f"has no effect with --task={self.task}")
        yield from self._task_problems()
        yield from self._split_problems()

    def _task_problems(self) -> Iterator[Problem]:
        if self.num_tasks == 1:
            for name, value in (("task_index", self.task_index), ("finish", self.finish or None)):
                if value is not None:
                    yield Problem(
                        name, value, "has no effect with --num_tasks=1", "leave it out, or use --num_tasks=2 or more"
                    )
            return
        if self.finish and self.task_index is not None:
            yield Problem("task_index", self.task_index, "has no effect with --finish", "leave one of them out")
        elif self.task_index is not None and self.task_index >= self.num_tasks > 1:
            yield Problem(
                "task_index",
                self.task_index,
                f"is none of --num_tasks={self.num_tasks}",
                f"use 0 to {self.num_tasks - 1}",
            )
        if self.num_tasks > self.num_shards > 0:
            reason = f"is more than --num_shards={self.num_shards}, so some have nothing to write"
            yield Problem("num_tasks", self.num_tasks, reason, f"use --num_shards={self.num_tasks} or more")

    def _split_problems(self) -> Iterator[Problem]:
        shown = ",".join(self.splits)
        try:
            sizes = [float(size) for size in self.splits]
        except ValueError:
            yield Problem(
                "splits", shown, "does not parse", "give up to three numbers, as in 8640,2880,2880 or 0.7,0.1,0.2"
            )
            return
        fractions = all(0 <= size <= 1 for size in sizes)
        if not 1 <= len(sizes) <= 3 or not all(math.isfinite(size) and size >= 0 for size in sizes) or sizes[0] == 0:
            yield Problem("splits", shown, "names no usable sizes", "give one to three sizes, the first above 0")
        elif fractions and sum(sizes) > 1 + 1e-9:
            yield Problem("splits", shown, f"adds up to {sum(sizes):g}", "use fractions that add up to 1 or less")
        elif not fractions and any(size != int(size) for size in sizes):
            yield Problem("splits", shown, "mixes counts and fractions", "use whole numbers, or fractions only")

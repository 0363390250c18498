"""Configurations of the commands that make and look at datasets: `prepare` and `inspect`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainer.config.places import Places
from trainer.config.train import CACHE_GIGABYTES, CACHE_HELP, TASKS, at_least, cache_problems, flag
from trainer.errors import Problem

SOURCES = {  # of prepare -> the tasks that can read them
    "csv": ("forecast",),
    "npy": ("forecast",),
    "text": ("language_model",),
    "pairs": ("seq2seq",),
    "tfds": TASKS,
    "sample": TASKS,
}
TFDS_ROLES = {"forecast": ("values",), "language_model": ("text",), "seq2seq": ("source", "target")}  # what a record is read for
LONGEST_NAME = 100  # characters of a dataset's name
TOKENIZERS = ("char", "byte", "word", "sentencepiece")


@dataclass(frozen=True)
class PrepareConfig:
    """`python -m trainer.prepare`."""

    GROUP: ClassVar[str] = "prepare"

    task: str = flag("what the sequences are for", choices=TASKS)
    source: str = flag(
        "where they come from: csv or npy (forecast), text (language_model), pairs (seq2seq), tfds or sample (any)",
        choices=tuple(SOURCES),
    )
    output_dir: str = flag("directory of the dataset; must not hold another one")
    name: str = flag(
        "what the dataset is called, in reports, on model cards and in the names of its files; without it the files' common name, or that"
        " of TFDS",
        default="",
    )
    input: tuple[str, ...] = flag(
        "path, glob or comma list of files; pairs: source_file,target_file (line-aligned), or one file with a tab between;"
        " tfds: split to train on, as in train[:90%], instead of the splits by their names",
        default=(),
    )
    validation_input: tuple[str, ...] = flag("files that are the validation split, instead of a part of --input", default=())
    test_input: tuple[str, ...] = flag("files that are the test split, instead of a part of --input", default=())
    splits: tuple[str, ...] = flag(
        "sizes of train, validation, test in the source's order: fractions (0.7,0.1,0.2) or counts (8640,2880,2880) of rows,"
        " characters of a stream, documents, or pairs",
        default=("0.7", "0.1", "0.2"),
    )
    tfds_name: str = flag("tfds: name of the dataset, as in NAME, NAME/CONFIG or NAME:VERSION", default="")
    tfds_dir: str = flag("tfds: directory of TFDS's datasets, or of one version of one (then without --tfds_name)", default="")
    feature_map: tuple[str, ...] = flag(
        "tfds: features to read where several fit: values=NAME (forecast), text=NAME (language_model), source=NAME,target=NAME (seq2seq)",
        default=(),
    )
    date_column: str = flag("column with the times; auto takes a first column that holds dates, none ignores dates", default="auto")
    known_future_columns: tuple[str, ...] = flag(
        "csv: columns of numbers that are known for the future too (promo, price): the model reads them, and does not forecast them",
        default=(),
    )
    static_columns: tuple[str, ...] = flag(
        "csv: columns with one value a file (store, size): numbers in all files are read as numbers, else each text is a category",
        default=(),
    )
    documents: str = flag("text: stream is one document a file, lines one document a line", default="stream", choices=("stream", "lines"))
    tokenizer: str = flag("text, pairs: what a token is", default="char", choices=TOKENIZERS)
    vocab_size: int | None = flag(
        "text, pairs: largest vocabulary, the four special tokens included; without it 10000 for word and sentencepiece,"
        " every character for char",
        default=None,
    )
    sentencepiece_type: str = flag("text, pairs: how sentencepiece finds its pieces", default="bpe", choices=("bpe", "unigram"))
    joint_vocabulary: bool = flag("pairs: one vocabulary for source and target, instead of one for each", default=False)
    drop_pairs: tuple[str, ...] = flag(
        "pairs: what is left out: empty (pairs with a blank side, else kept), surplus (lines that the other file lacks, else an error)",
        default=(),
    )
    max_source_tokens: int | None = flag("pairs: leave pairs with longer sources out of the training split", default=None)
    max_target_tokens: int | None = flag("pairs: leave pairs with longer targets out of the training split", default=None)
    num_shards: int = flag("TFRecord shards a split", default=8)
    num_processes: int = flag("processes that read and write; 0 is one a core", default=0)
    num_tasks: int = flag("tasks that prepare this dataset together, on hosts that share --output_dir or its gs:// address", default=1)
    task_index: int | None = flag(
        "which of the tasks this is, from 0; without it the index of the pod in an Indexed Job (JOB_COMPLETION_INDEX)", default=None
    )
    finish: bool = flag("make nothing, but complete the dataset if all --num_tasks have run; else name those that have not", default=False)
    seed: int = flag("seed of --source=sample", default=0)

    @property
    def reads_files(self) -> bool:
        return self.source not in ("sample", "tfds")

    def places(self) -> Places:
        files = {name: getattr(self, name) for name in ("input", "validation_input", "test_input")}
        return Places(
            read_files=files if self.reads_files else {},  # those of tfds are splits
            read_directories={"tfds_dir": self.tfds_dir},
            written_directories={"output_dir": self.output_dir},
        )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "num_shards", "num_tasks")
        yield from at_least(self, 0, "num_processes", "seed", "task_index")
        yield from at_least(self, 8, "vocab_size")
        yield from at_least(self, 1, "max_source_tokens", "max_target_tokens")
        if not self.name.isprintable():
            yield Problem("name", ascii(self.name), "has characters that cannot be printed", "leave them out")
        elif len(self.name) > LONGEST_NAME:
            yield Problem("name", self.name, f"has {len(self.name)} characters", f"give at most {LONGEST_NAME}")
        fitting = [source for source, tasks in SOURCES.items() if self.task in tasks]
        if self.source not in fitting:
            remedy = f"use {' or '.join(f'--source={source}' for source in fitting)}"
            yield Problem("source", self.source, f"is nothing for --task={self.task}", remedy)
        if self.reads_files and not self.input:
            yield Problem("input", None, "is missing", "name the files to read, as in --input='data/*.csv'")
        if self.source == "sample" and (self.input or self.validation_input or self.test_input):
            yield Problem("source", self.source, "reads no files", f"leave out --input, or use --source={fitting[0]}")
        yield from self._task_problems()
        yield from self._tfds_problems()
        yield from self._text_problems()
        yield from self._pair_problems()
        yield from self._split_problems()

    def _task_problems(self) -> Iterator[Problem]:
        if self.num_tasks == 1:
            for name, value in (("task_index", self.task_index), ("finish", self.finish or None)):
                if value is not None:
                    yield Problem(name, value, "has no effect with --num_tasks=1", "leave it out, or use --num_tasks=2 or more")
            return
        if self.finish and self.task_index is not None:
            yield Problem("task_index", self.task_index, "has no effect with --finish", "leave one of them out")
        elif self.task_index is not None and self.task_index >= self.num_tasks > 1:
            yield Problem("task_index", self.task_index, f"is none of --num_tasks={self.num_tasks}", f"use 0 to {self.num_tasks - 1}")
        if self.num_tasks > self.num_shards > 0:
            told = f"is more than --num_shards={self.num_shards}, so some have nothing to write"
            yield Problem("num_tasks", self.num_tasks, told, f"use --num_shards={self.num_tasks} or more")

    def _tfds_problems(self) -> Iterator[Problem]:
        shown = ",".join(self.feature_map)
        if self.source != "tfds":
            for name, value in (("tfds_name", self.tfds_name), ("tfds_dir", self.tfds_dir), ("feature_map", shown)):
                if value:
                    yield Problem(name, value, f"has no effect with --source={self.source}", "leave it out, or use --source=tfds")
            return
        if not self.tfds_name and not self.tfds_dir:
            yield Problem("tfds_name", None, "is missing", "name the dataset, or its directory with --tfds_dir")
        if not self.input and (self.validation_input or self.test_input):
            yield Problem("input", None, "is missing", "name the split to train on too, as in --input=train")
        roles = TFDS_ROLES.get(self.task, ())
        given = [entry.partition("=") for entry in self.feature_map]
        if given and (sorted(role for role, _, _ in given) != sorted(roles) or not all(name for _, _, name in given)):
            wanted = ",".join(f"{role}=NAME" for role in roles)
            yield Problem("feature_map", shown, f"does not fit --task={self.task}", f"give --feature_map={wanted}")

    def _text_problems(self) -> Iterator[Problem]:
        if self.task == "forecast":
            if self.source in ("npy", "tfds", "sample") and self.date_column != "auto":
                yield Problem("date_column", self.date_column, f"has no effect with --source={self.source}", "leave it out")
            yield from self._without_effect("documents", "tokenizer", "vocab_size", "sentencepiece_type")
            yield from self._covariate_problems()
            return
        yield from self._without_effect("known_future_columns", "static_columns")
        if self.date_column != "auto":
            yield Problem("date_column", self.date_column, f"has no effect with --task={self.task}", "leave it out")
        if self.tokenizer == "byte" and self.vocab_size is not None:
            yield Problem("vocab_size", self.vocab_size, "has no effect with --tokenizer=byte", "leave it out: there are 256 bytes")
        if self.tokenizer != "sentencepiece" and self.sentencepiece_type != "bpe":
            yield Problem("sentencepiece_type", self.sentencepiece_type, f"has no effect with --tokenizer={self.tokenizer}", "leave it out")

    def _covariate_problems(self) -> Iterator[Problem]:
        for name in ("known_future_columns", "static_columns"):
            columns = getattr(self, name)
            shown = ",".join(columns)
            if columns and self.source != "csv":
                yield Problem(name, shown, f"has no effect with --source={self.source}", "leave it out, or use --source=csv")
            if len(set(columns)) < len(columns):
                yield Problem(name, shown, "names a column twice", "name each once")
            others = {"date_column": (self.date_column,), "static_columns": self.static_columns if name != "static_columns" else ()}
            for other, theirs in others.items():
                if both := set(columns) & set(theirs):
                    yield Problem(name, shown, f"names {sorted(both)[0]}, as --{other} does", "give each column one role")

    def _pair_problems(self) -> Iterator[Problem]:
        if self.task != "seq2seq":
            yield from self._without_effect("joint_vocabulary", "drop_pairs", "max_source_tokens", "max_target_tokens")
            return
        yield from self._without_effect("documents")
        for rule in self.drop_pairs:
            if rule not in ("empty", "surplus"):
                yield Problem("drop_pairs", ",".join(self.drop_pairs), f"has the unknown rule {rule!r}", "use empty, surplus or both")
        if self.source == "sample" and self.drop_pairs:
            yield Problem("drop_pairs", ",".join(self.drop_pairs), "has no effect with --source=sample", "leave it out")
        for name in ("input", "validation_input", "test_input"):
            if self.source == "pairs" and len(getattr(self, name)) > 2:
                remedy = "name the file of the sources and that of the targets, or one file with both and a tab between"
                yield Problem(name, ",".join(getattr(self, name)), "names more than two files", remedy)

    def _without_effect(self, *names: str) -> Iterator[Problem]:
        """Yields a problem for every named flag that was given though the task has no use for it."""
        for name in names:
            value = getattr(self, name)
            if value != type(self).__dataclass_fields__[name].default:
                shown = ",".join(value) if isinstance(value, tuple) else value
                yield Problem(name, shown, f"has no effect with --task={self.task}", "leave it out")

    def _split_problems(self) -> Iterator[Problem]:
        shown = ",".join(self.splits)
        try:
            sizes = [float(size) for size in self.splits]
        except ValueError:
            yield Problem("splits", shown, "does not parse", "give up to three numbers, as in 8640,2880,2880 or 0.7,0.1,0.2")
            return
        fractions = all(0 <= size <= 1 for size in sizes)
        if not 1 <= len(sizes) <= 3 or not all(math.isfinite(size) and size >= 0 for size in sizes) or sizes[0] == 0:
            yield Problem("splits", shown, "names no usable sizes", "give one to three sizes, the first above 0")
        elif fractions and sum(sizes) > 1 + 1e-9:
            yield Problem("splits", shown, f"adds up to {sum(sizes):g}", "use fractions that add up to 1 or less")
        elif not fractions and any(size != int(size) for size in sizes):
            yield Problem("splits", shown, "mixes counts and fractions", "use whole numbers, or fractions only")


@dataclass(frozen=True)
class InspectConfig:
    """`python -m trainer.inspect`."""

    GROUP: ClassVar[str] = "inspect"

    data_dir: str = flag("dataset that trainer.prepare wrote")
    verify: bool = flag("compare every shard with the checksum that it was written with", default=False)
    examples: int = flag("decoded examples of each split", default=2)
    cache_gigabytes: float = flag(CACHE_HELP, default=CACHE_GIGABYTES)

    def places(self) -> Places:
        return Places(read_directories={"data_dir": self.data_dir})

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "examples")
        yield from cache_problems(self.cache_gigabytes, self.data_dir)

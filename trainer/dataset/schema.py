"""What a dataset's manifest tells: its splits and shards, the features of its records, and the facts of its task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from trainer.dataset.pair_facts import PairFacts

FORMAT_VERSION = 3


@dataclass(frozen=True)
class Feature:
    """One feature of a record; `None` in `shape` is a dimension that differs between records."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    unit: str
    lowest: int = 0  # what a stored 0 stands for


@dataclass(frozen=True)
class Shard:
    file: str
    records: int
    bytes: int
    crc32c: str  # of the whole file, eight hexadecimal digits


@dataclass(frozen=True)
class Split:
    records: int
    shards: tuple[Shard, ...]

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)


@dataclass(frozen=True)
class Interval:
    """Distance of two neighbouring time steps: `count` seconds, or `count` calendar months."""

    count: int
    unit: str  # "second" or "month"


@dataclass(frozen=True)
class KnownColumn:
    """A column of numbers that is known for the future too; mean and standard deviation are those of all training rows."""

    name: str
    mean: float
    std: float


@dataclass(frozen=True)
class StaticColumn:
    """A column with one text a group: a number, standardised over the training groups, or one of `categories` where there are any."""

    name: str
    categories: tuple[str, ...]
    mean: float
    std: float


@dataclass(frozen=True)
class SeriesGroup:
    """One source file: series that share a time axis.

    Rows are numbered from 0 in time order; rows that the source lacks (a gap in the dates) are there, as missing values.
    `mean` and `std` are those of the training rows, one a column; `std` is 1 where a column is constant or never observed there.
    """

    name: str
    rows: int
    first_time: int | None  # Unix seconds of row 0, None without dates
    splits: dict[str, tuple[int, int]]  # split -> first row, row after the last
    mean: tuple[float, ...]
    std: tuple[float, ...]
    static: tuple[str, ...] = ()  # texts of the static columns


@dataclass(frozen=True)
class SeriesFacts:
    """What a forecasting dataset knows of its series."""

    columns: tuple[str, ...]
    interval: Interval | None  # None without dates
    groups: tuple[SeriesGroup, ...]
    known: tuple[KnownColumn, ...] = ()
    static: tuple[StaticColumn, ...] = ()


@dataclass(frozen=True)
class TextCounts:
    """Sizes of one split; `tokens` are those of the records, so without the marks between documents."""

    tokens: int
    characters: int
    documents: int
    unknown: int  # tokens that stand for text outside the vocabulary


@dataclass(frozen=True)
class TextFacts:
    """What a text dataset knows of its tokens."""

    tokenizer: str
    vocabulary_file: str | None  # in the dataset's directory; None where the tokenizer needs none
    vocabulary_size: int  # special tokens included
    vocabulary_sha256: str
    documents: str  # "stream": one document a file; "lines": one a line
    splits: dict[str, TextCounts]


@dataclass(frozen=True)
class Manifest:
    name: str
    task: str
    features: tuple[Feature, ...]
    splits: dict[str, Split]
    series: SeriesFacts | None = None
    text: TextFacts | None = None
    pairs: PairFacts | None = None
    format_version: int = FORMAT_VERSION
    created_by: str = field(default="")
    prepared_from: str = field(default="")  # digest of the flags and inputs

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ when any shard's content does, a vocabulary or a static column, and no name."""
        parts = [f"{split} {shard.bytes} {shard.crc32c}" for split in sorted(self.splits) for shard in self.splits[split].shards]
        parts += [f"vocabulary {sha256}" for sha256 in self.vocabularies]
        if self.series is not None and self.series.static:
            parts += [f"static {group.static}" for group in self.series.groups]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the known and of the static columns of series."""
        if self.series is None:
            return ()
        return (*(column.name for column in self.series.known), *(column.name for column in self.series.static))

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """SHA-256 of the vocabularies: one of a text, two (source, target) of pairs."""
        own = (self.text.vocabulary_sha256,) if self.text is not None else ()
        return own if self.pairs is None else (self.pairs.source.sha256, self.pairs.target.sha256)

    @property
    def vocabulary_files(self) -> tuple[str, ...]:
        """Files of the directory that hold the vocabularies, each once."""
        own = (self.text.vocabulary_file,) if self.text is not None and self.text.vocabulary_file is not None else ()
        return own if self.pairs is None else self.pairs.vocabulary_files

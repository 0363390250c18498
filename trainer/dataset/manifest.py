"""`dataset.json`: what a dataset directory holds. Written last, so a directory that has it is complete."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import shutil
import socket
import typing
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c

from trainer.dataset import tfds_files
from trainer.dataset.manifest_checks import check_manifest
from trainer.dataset.pair_facts import PairFacts
from trainer.errors import ConfigError, DataError, Problem, StorageError, one_line
from trainer.storage.atomic_file import whole_file

FORMAT_VERSION = 3
MANIFEST_FILE = "dataset.json"
CHECKSUM = "crc32c"  # the entry of the file that is no field of the manifest


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

    def to_json(self) -> str:
        return sealed(dataclasses.asdict(self))


def sealed(values: dict[str, Any]) -> str:
    """The text of a dataset.json of these values: with their checksum, by which `read` finds that any of them changed."""
    return json.dumps({**values, CHECKSUM: _checksum(values)}, indent=1, allow_nan=False) + "\n"


def _checksum(values: dict[str, Any]) -> str:
    """CRC32C of JSON without regard to its layout, eight hexadecimal digits."""
    return f"{google_crc32c.value(json.dumps(values, sort_keys=True).encode()):08x}"


def read(data_dir: str) -> Manifest:
    """Reads `DATA_DIR/dataset.json`.

    Raises:
      DataError: there is none, it is of another format version, or it is damaged; the text says which and what to do.
    """
    path = Path(data_dir) / MANIFEST_FILE
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{data_dir} is no dataset: it has no {MANIFEST_FILE}; write one with python -m trainer.prepare") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); prepare the dataset again") from None
    return parse(content, str(path))


def parse(content: bytes, path: str) -> Manifest:
    """The manifest of a dataset.json's content; `path` is for errors, as those of `read`."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read ({error}); prepare the dataset again") from None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}); prepare the dataset again") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        told = f"has format version {one_line(version)}, this program reads {FORMAT_VERSION}"
        raise DataError(f"{path} {told}; prepare the dataset again")
    if values.pop(CHECKSUM, None) != _checksum(values):
        raise DataError(f"{path} was changed after it was written (its checksum is wrong); restore it or prepare the dataset again")
    try:
        manifest = decode(values)
        check_manifest(manifest)
        return manifest
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is damaged ({one_line(error)}); prepare the dataset again") from None


def decode(values: dict[str, Any]) -> Manifest:
    """Rebuilds a manifest from its JSON, whatever its checksum; ValueError, KeyError or TypeError where something does not fit."""
    manifest: Manifest = _decode(Manifest, {name: value for name, value in values.items() if name != CHECKSUM}, "")
    return manifest


_type_hints = functools.cache(typing.get_type_hints)  # which takes longer than all else here


def _decode(hint: Any, value: Any, path: str) -> Any:
    """Rebuilds a typed value from JSON, checking types on the way."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{path or 'the file'} is no object")
        hints = _type_hints(typing.cast(type, hint))
        # A field with a default may be missing: the file is of a version that did not know it yet.
        needed = {entry.name for entry in dataclasses.fields(hint) if entry.default is dataclasses.MISSING}
        if odd := (needed - set(value)) | (set(value) - set(hints)):
            raise ValueError(f"{path}{sorted(odd)[0]} is missing or unknown")
        return typing.cast(type, hint)(**{name: _decode(hints[name], entry, f"{path}{name}.") for name, entry in value.items()})
    if type(None) in arguments:
        return None if value is None else _decode(arguments[0], value, path)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise ValueError(f"{path[:-1]} has {len(value)} entries instead of {len(kinds)}")
        return tuple(_decode(kind, entry, f"{path}{index}.") for index, (kind, entry) in enumerate(zip(kinds, value)))
    if origin is dict:
        return {key: _decode(arguments[1], entry, f"{path}{key}.") for key, entry in value.items()}
    if hint is float and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{path[:-1]} is {one_line(value)}, not of type {hint.__name__}")
    if hint is str:
        value.encode()  # ValueError where it holds half of a character, which no file name or terminal takes
    return value


def write(manifest: Manifest, directory: Path) -> None:
    """Writes dataset_info.json and features.json, by which TFDS reads the directory, then dataset.json; raises OSError."""
    for name, content in (
        ("dataset_info.json", json.dumps(tfds_files.dataset_info(manifest), indent=2)),
        ("features.json", json.dumps(tfds_files.features(manifest.features), indent=2)),
        (MANIFEST_FILE, manifest.to_json()),
    ):
        with whole_file(directory / name) as path, path.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def check_new(output_dir: str) -> None:
    """Raises ConfigError unless `output_dir` can become a new dataset: it must be absent, or an empty directory."""
    target = Path(output_dir)
    if "://" in output_dir:
        raise ConfigError([Problem("output_dir", output_dir, "is no local path and no gs:// address", "give one")])
    if (target / MANIFEST_FILE).exists():
        raise ConfigError([Problem("output_dir", output_dir, "holds a dataset", "choose another --output_dir, or delete it")])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError([Problem("output_dir", output_dir, "exists and is no empty directory", "choose another --output_dir")])
    if target.is_mount():
        raise ConfigError([Problem("output_dir", output_dir, "is a mount point", "choose a directory inside it")])


@contextlib.contextmanager
def new_directory(output_dir: str) -> Iterator[Path]:
    """Gives a temporary sibling of `output_dir` to fill; it becomes `output_dir` by one rename when the context ends well.

    On any error it is removed. What killed runs of this host left behind is removed at the start.

    Raises:
      ConfigError: as `check_new`.
      StorageError: the file system refused (disk full, no permission), in the context's body too.
    """
    check_new(output_dir)
    target = Path(output_dir).resolve()
    mark = f".{target.name}.incomplete-{socket.gethostname()}-"
    temporary = target.parent / f"{mark}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        with storage_errors(output_dir):
            target.parent.mkdir(parents=True, exist_ok=True)
            for leftover in target.parent.glob(f"{mark}*"):
                if not _is_running(leftover.name[len(mark) :].partition("-")[0]):
                    shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            _sync(temporary)
            temporary.rename(target)
            _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def storage_errors(output_dir: str) -> Iterator[None]:
    """Makes a StorageError that names the directory of an OSError in its context."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{output_dir} cannot be written ({reason}); free the space or choose another --output_dir") from error


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):  # no process number, or somebody else's process
        return True
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A dataset's manifest: its splits and shards, the features of its records, and the facts of its task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from trainer.errors import DataError

FORMAT_VERSION = 4
LONGEST_FILE_NAME = 255  # bytes


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


AnyFacts = TypeVar("AnyFacts", bound="Facts")


class Facts:
    """Base of the frozen dataclasses of what a task's datasets tell of themselves. Kept in dataset.json, so all values
    are plain.
    """

    TASK: ClassVar[str]

    @classmethod
    def of(cls: type[AnyFacts], manifest: Manifest) -> AnyFacts:
        """The facts of a dataset of this kind.

        Raises:
          DataError: the dataset is of another task.
        """
        if not isinstance(manifest.facts, cls):
            raise DataError(
                f"{manifest.name!r} is a {manifest.task} dataset; give one that was prepared with --task={cls.TASK}"
            )
        return manifest.facts

    @property
    def split_names(self) -> set[str] | None:
        """The splits that the facts tell of; None where they tell of none."""
        return None

    @property
    def needed_features(self) -> set[str]:
        """Names of the features that every record must have."""
        return set()

    @property
    def fingerprint_parts(self) -> list[str]:
        """Texts that the fingerprint depends on beside the shards."""
        return []

    @property
    def files(self) -> tuple[str, ...]:
        """Files of the directory beside the shards that a model needs, each once."""
        return ()

    def check(self, manifest: Manifest) -> None:
        """Raises ValueError where the facts do not fit together, or not to the rest of the manifest."""

    def difference(self, other: Facts) -> str | None:
        """Why a model that was trained on a dataset with these facts cannot be scored on one with others of this task;
        None if it can.
        """
        return None

    def described(self) -> dict[str, str]:
        """Name -> value for reports and model cards, sizes of the splits among them."""
        return {}


def is_file_name(text: str) -> bool:
    """Whether a text is the name of a file in the dataset's directory."""
    return Path(text).name == text and text.isprintable() and len(text) <= LONGEST_FILE_NAME


@dataclass(frozen=True)
class Manifest:
    name: str
    task: str
    features: tuple[Feature, ...]
    splits: dict[str, Split]
    facts: Facts
    format_version: int = FORMAT_VERSION
    created_by: str = field(default="")
    prepared_from: str = field(default="")  # digest of the flags and inputs

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ when the content of any shard does, or what else the task counts;
        names do not count.
        """
        parts = [
            f"{split} {shard.bytes} {shard.crc32c}"
            for split in sorted(self.splits)
            for shard in self.splits[split].shards
        ]
        return hashlib.sha256("\n".join([*parts, *self.facts.fingerprint_parts]).encode()).hexdigest()[:16]

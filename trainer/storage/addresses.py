"""`gs://BUCKET/NAME`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from trainer.errors import LocationError

SCHEME = "gs://"
_ADDRESS = re.compile(r"gs://([a-z0-9][a-z0-9_.-]{1,220}[a-z0-9])(?:/(.*))?", re.DOTALL)
_WILDCARD = re.compile(r"[*?[]")


def is_address(path: str) -> bool:
    return path.startswith(SCHEME)


@dataclass(frozen=True)
class Address:
    """An object, or all objects whose names begin with `NAME/`. Without a name it is the whole bucket."""

    bucket: str
    name: str  # without slashes at its ends

    @classmethod
    def of(cls, text: str) -> Address:
        """Reads `gs://BUCKET/NAME`; LocationError where it is none."""
        match = _ADDRESS.fullmatch(text)
        if match is None or "//" in (match[2] or "").rstrip("/"):
            raise LocationError(text, "is not an address in Cloud Storage", "give gs://BUCKET/NAME")
        return cls(match[1], (match[2] or "").rstrip("/"))

    @property
    def prefix(self) -> str:
        """The beginning of the names of the objects in it."""
        return f"{self.name}/" if self.name else ""

    def inside(self, name: str) -> Address:
        return Address(self.bucket, f"{self.prefix}{name}".rstrip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.name}"


def is_pattern(name: str) -> bool:
    return _WILDCARD.search(name) is not None


def fixed_part(pattern: str) -> str:
    """The beginning of all names that fit a pattern."""
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def fits(name: str, pattern: str) -> bool:
    """Whether an object's name fits a pattern as `glob` reads it: `*` stays within a folder, `**` does not."""
    return _parts_fit(name.split("/"), pattern.split("/"))


def _parts_fit(names: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_parts_fit(names[skipped:], patterns[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _parts_fit(names[1:], patterns[1:])

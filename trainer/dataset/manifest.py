"""`dataset.json`: what a dataset directory holds. Written last, so a directory that has it is complete."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c

from trainer.dataset import tfds_files
from trainer.dataset.manifest_checks import check_manifest
from trainer.dataset.schema import FORMAT_VERSION, Facts, Manifest
from trainer.errors import DataError, one_line
from trainer.storage.atomic_file import atomic_file

MANIFEST_FILE = "dataset.json"
CHECKSUM = "crc32c"  # the entry of the file that is not a field of the manifest

FactsTypes = Callable[[str], type[Facts] | None]  # task -> the dataclass of its facts; None where there is no such task


def to_json(manifest: Manifest) -> str:
    return sealed(dataclasses.asdict(manifest))


def sealed(values: dict[str, Any]) -> str:
    """The text of a dataset.json of these values: with their checksum, by which `read` finds that any of them
    changed.
    """
    return json.dumps({**values, CHECKSUM: _checksum(values)}, indent=1, allow_nan=False) + "\n"


def _checksum(values: dict[str, Any]) -> str:
    """CRC32C of JSON without regard to its layout, eight hexadecimal digits."""
    return f"{google_crc32c.value(json.dumps(values, sort_keys=True).encode()):08x}"


def read(data_dir: str, facts_types: FactsTypes) -> Manifest:
    """Reads `DATA_DIR/dataset.json`.

    Raises:
      DataError: there is none, it is of another format version, or it is damaged; the text says which and what to do.
    """
    path = Path(data_dir) / MANIFEST_FILE
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{data_dir} is not a dataset: it has no {MANIFEST_FILE}; write one with python -m trainer.prepare"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); prepare the dataset again") from None
    return parse(content, str(path), facts_types)


def parse(content: bytes, path: str, facts_types: FactsTypes) -> Manifest:
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
        reason = f"has format version {one_line(version)}, this program reads {FORMAT_VERSION}"
        raise DataError(f"{path} {reason}; prepare the dataset again")
    if values.pop(CHECKSUM, None) != _checksum(values):
        raise DataError(
            f"{path} was changed after it was written (its checksum is wrong); restore it or prepare the dataset again"
        )
    try:
        manifest = decode(values, facts_types)
        check_manifest(manifest)
        return manifest
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is damaged ({one_line(error)}); prepare the dataset again") from None


def decode(values: dict[str, Any], facts_types: FactsTypes) -> Manifest:
    """Rebuilds a manifest from its JSON, whatever its checksum; ValueError, KeyError or TypeError where something does
    not fit.
    """
    task = _decode(str, values.get("task"), "task.")
    kind = facts_types(task)
    if kind is None:
        raise ValueError(f"its task {one_line(task)} is unknown")
    facts = _decode(kind, values.get("facts"), "facts.")
    plain = {name: value for name, value in values.items() if name not in (CHECKSUM, "facts")}
    manifest: Manifest = _decode(Manifest, plain, "", facts=facts)
    return manifest


_type_hints = functools.cache(typing.get_type_hints)  # which takes longer than all else here


def _decode(hint: Any, value: Any, path: str, **decoded: Any) -> Any:
    """Rebuilds a typed value from JSON, checking types on the way; `decoded` are fields of a dataclass that are decoded
    already.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{path[:-1] or 'the file'} is not an object")
        hints = _type_hints(typing.cast(type, hint))
        # A field with a default may be missing: the file is of a version that did not know it yet.
        needed = {entry.name for entry in dataclasses.fields(hint) if entry.default is dataclasses.MISSING} - set(
            decoded
        )
        if odd := (needed - set(value)) | (set(value) - set(hints)):
            raise ValueError(f"{path}{sorted(odd)[0]} is missing or unknown")
        fields = {name: _decode(hints[name], entry, f"{path}{name}.") for name, entry in value.items()}
        return typing.cast(type, hint)(**fields, **decoded)
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
    """Writes dataset_info.json and features.json, by which TFDS reads the directory, then dataset.json; raises
    OSError.
    """
    for name, content in (
        ("dataset_info.json", json.dumps(tfds_files.dataset_info(manifest), indent=2)),
        ("features.json", json.dumps(tfds_files.features(manifest.features), indent=2)),
        (MANIFEST_FILE, to_json(manifest)),
    ):
        with atomic_file(directory / name) as path, path.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

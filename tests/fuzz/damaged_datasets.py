"""Fuzz targets over dataset directories: a file that is not as it was written is refused when it is read.

The first byte of an input chooses dataset and file, the rest is the file. Where the byte asks for it the checksums are
made to fit again: such a file may be read, but never end in a traceback.
"""

from __future__ import annotations

import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import google_crc32c

from tests.support.configured import prepare_config
from trainer.dataset import manifest as manifests
from trainer.dataset import tfrecord
from trainer.errors import EXIT_DATA, TrainerError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.text.tokenizer import checksum

from .outcome import LONGEST_MESSAGE, demand, inspected, numbers_checked

INPUTS: Mapping[str, tuple[str, bytes]] = {
    "forecast": (
        "csv",
        b"date,a,b\n" + b"".join(b"2020-01-%02d,%d,%d.5\n" % (day, day, day * day) for day in range(1, 12) if day != 5),
    ),
    "language_model": ("text", b"one two\ntwo\nthree one one\nfour\none five\n"),
    "seq2seq": ("pairs", b"ab\txx\nb\ty\n\tz\ncab\tyx\n"),
}
TASKS = tuple(INPUTS)
SEALED = 1 << 7  # bit of the first byte: make the checksums fit again


@dataclass(frozen=True)
class Original:
    """A sound dataset: its files, and what inspect tells of it."""

    files: dict[str, bytes]
    told: str

    def named(self, part: str) -> list[str]:
        return sorted(name for name in self.files if part in name)


@functools.cache
def original(task: str) -> Original:
    source, content = INPUTS[task]
    with tempfile.TemporaryDirectory() as place:
        path, out = Path(place) / "a", Path(place) / "data"
        path.write_bytes(content)
        settings: dict[str, Any] = {} if source == "csv" else {"tokenizer": "word" if source == "text" else "char"}
        settings |= {"documents": "lines"} if source == "text" else {}
        prepare(
            prepare_config(
                task,
                source,
                str(out),
                input=(str(path),),
                splits=("0.5", "0.5"),
                num_shards=2,
                num_processes=1,
                **settings,
            )
        )
        files = {file.name: file.read_bytes() for file in out.iterdir()}
        return Original(files, inspected(out))


def seeds(part: str) -> tuple[bytes, ...]:
    """The sound files whose names hold `part`, each with the byte that chooses it, sealed and not."""
    found = []
    for index, task in enumerate(TASKS):
        for number, name in enumerate(original(task).named(part)):
            choice = index | number << 2
            found += [bytes([choice | bits]) + original(task).files[name] for bits in (0, SEALED)]
    return tuple(found)


def check_manifest(data: bytes, place: Path) -> None:
    _check("dataset.json", data, place)


def check_shard(data: bytes, place: Path) -> None:
    _check(".tfrecord-", data, place)


def check_store(data: bytes, place: Path) -> None:
    """As `check_shard`, its split read as training reads it; checksums never fit again."""
    _check(".tfrecord-", bytes([data[0] & ~SEALED]) + data[1:] if data else data, place, _loaded)


def check_vocabulary(data: bytes, place: Path) -> None:
    _check("vocabulary", data, place)


def _check(
    part: str, data: bytes, place: Path, read: Callable[[Path, str], str] = lambda directory, name: inspected(directory)
) -> None:
    choice, content = (data[:1] or b"\0")[0], data[1:]
    task = TASKS[(choice & 3) % len(TASKS)]
    sound = original(task)
    names = sound.named(part)
    if not names:
        return
    name = names[(choice >> 2 & 7) % len(names)]
    files = dict(sound.files)
    files[name] = content
    sealed = bool(choice & SEALED) and _seal(files, name)
    directory = place / "data"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for file, own in files.items():
        (directory / file).write_bytes(own)
    try:
        told = read(directory, name)
    except TrainerError as error:
        demand(error.exit_code == EXIT_DATA, f"exit code {error.exit_code}: {error}")
        for line in str(error).split("\n"):
            demand(line.isprintable() and len(line) < LONGEST_MESSAGE and "; " in line, f"no line for people: {line!r}")
            demand(str(directory) in line, f"no file: {line!r}")
        demand(files != sound.files, f"a sound dataset was refused: {error}")
        return
    if not sealed and part != "dataset.json":
        demand(content == sound.files[name], f"a changed {name} was read")  # of dataset.json the layout may change
    if not sealed:
        demand(told == sound.told, f"a changed {name} was read as {told}")


def _loaded(directory: Path, name: str) -> str:
    """Reads the split of a shard as training does, then what inspect tells."""
    from trainer.tasks.forecast.data import series_store
    from trainer.tasks.language_model import token_store
    from trainer.tasks.seq2seq import store as pair_store

    told = datasets.read(str(directory))
    stores: dict[str, Any] = {"forecast": series_store, "language_model": token_store, "seq2seq": pair_store}
    store = stores[told.task]
    with numbers_checked(), mock.patch.object(store, "_parsed", functools.partial(_pipeline, store._parsed)):
        store.load(str(directory), told, next(split for split in told.splits if f"-{split}.tfrecord-" in name))
    return inspected(directory)


def _pipeline(build: Callable[..., Any], paths: list[str], *more: Any) -> Any:
    """The pipeline over files, built once: that takes five times as long as to read them, and reads nothing."""
    return _built(build, tuple(paths), *more)


@functools.cache
def _built(build: Callable[..., Any], paths: tuple[str, ...], *more: Any) -> Any:
    return build(list(paths), *more)


def _seal(files: dict[str, bytes], name: str) -> bool:
    """Makes the checksums of a changed file fit again; False where it is too broken for that."""
    try:
        values = json.loads(files["dataset.json"])
        if name != "dataset.json" and ".tfrecord-" in name:
            files[name] = _framed(files[name])
            for shard in (shard for split in values["splits"].values() for shard in split["shards"]):
                if shard["file"] == name:
                    shard |= {"bytes": len(files[name]), "crc32c": f"{google_crc32c.value(files[name]):08x}"}
        elif name != "dataset.json":
            _seal_vocabulary(values, name, files[name])
        values.pop(manifests.CHECKSUM, None)
        files["dataset.json"] = manifests.sealed(values).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
        return False
    return True


def _framed(content: bytes) -> bytes:
    """The records of a damaged shard, as far as they are there, in sound frames."""
    out, at = b"", 0
    while at + 12 <= len(content):
        length = struct.unpack_from("<Q", content, at)[0]
        record = content[at + 12 : at + 12 + length]
        header = struct.pack("<Q", len(record))
        out += (
            header
            + struct.pack("<I", tfrecord.masked_crc32c(header))
            + record
            + struct.pack("<I", tfrecord.masked_crc32c(record))
        )
        at += 12 + length + 4
    return out


def _seal_vocabulary(values: dict[str, Any], name: str, content: bytes) -> None:
    if values["task"] == "language_model":
        values["facts"]["vocabulary_sha256"] = checksum("word", content)
    else:
        values["facts"][name.partition("_")[0]]["sha256"] = checksum("char", content)

"""Where a command reads and where it writes: it may not write what it reads."""

from __future__ import annotations

import functools
import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.errors import LocationError, Problem
from trainer.storage.addresses import Address, fits, is_address, is_pattern

STDIN = "-"

Identity = tuple[int, int]  # device and inode: two paths that have the same one are one file


@dataclass(frozen=True)
class Places:
    """Paths by the flag that names them, local ones and gs:// addresses; empty ones are none.

    Attributes:
        read_files: files and patterns, as `find_files` reads them; `-` is stdin.
        read_directories: directories that hold what is read, in folders of theirs or right in them.
        filled_directories: flags of those that hold nothing else: an output file may not lie right in them either.
        written_files: files that are replaced.
        written_directories: directories that get files with names of the command's own; they may lie in one that is
          read.
    """

    read_files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    read_directories: Mapping[str, str] = field(default_factory=dict)
    filled_directories: frozenset[str] = frozenset()
    written_files: Mapping[str, str] = field(default_factory=dict)
    written_directories: Mapping[str, str] = field(default_factory=dict)

    @property
    def read(self) -> Iterator[tuple[str, str]]:
        """Flag and path of all that is read."""
        yield from ((flag, path) for flag, paths in self.read_files.items() for path in paths if path)
        yield from ((flag, path) for flag, path in self.read_directories.items() if path)

    @property
    def written(self) -> Iterator[tuple[str, str]]:
        """Flag and path of all that is written."""
        yield from ((flag, path) for flag, path in {**self.written_files, **self.written_directories}.items() if path)


def problems(places: Places, flag_files: Sequence[str] = ()) -> Iterator[Problem]:
    """Yields a problem for each output that is an input, by whatever path or link, lies above one, or is another output
    too.

    Paths are looked up, and nothing is read. An output file may not lie in a folder of a directory that is read either:
    it could be one of the files there.

    Args:
        places: of a command.
        flag_files: files of flags, which are read as well; a directory of outputs may hold them.
    """
    _real.cache_clear()  # the file system may have changed since
    _chain.cache_clear()
    before: dict[str, str] = {}
    for flag, path in places.written:
        reason = next(_reasons(places, flag, path, flag_files), None)
        twice = next((other for other in before if _spot(before[other]).is_same(_spot(path))), None)
        if reason is None and twice is not None:
            reason = f"is what --{twice}={before[twice]} writes"
        if reason is not None:
            yield Problem(
                flag, path, reason, f"write to another {'file' if flag in places.written_files else 'directory'}"
            )
        before[flag] = path


def _reasons(places: Places, flag: str, path: str, flag_files: Sequence[str]) -> Iterator[str]:
    written = _spot(path)
    folder = _Spot(frozenset(name.rpartition("/")[0] for name in written.names))
    is_file = flag in places.written_files
    for other, text in places.read:
        reason = f"what --{other}={text} reads"
        for spot in _spots(text) if other in places.read_files else [_spot(text)]:
            if written.is_same(spot):
                yield f"is {reason}"
            if written.is_above(spot):
                yield f"lies above {reason}"
            if (
                is_file
                and other in places.read_directories
                and spot.is_above(written if other in places.filled_directories else folder)
            ):
                yield f"lies in {reason}"
        if is_file and other in places.read_files and _would_be_read(written, text):
            yield f"fits --{other}={text}, which would read it the next time"
    for name in flag_files if is_file else ():
        if written.is_same(_spot(name)):
            yield f"is what --flagfile={name} reads"


@dataclass(frozen=True)
class _Spot:
    """A place in the file system or in a bucket.

    Attributes:
        names: its absolute names, those of links to it included where a link was given.
        identity: None where nothing is there, and in a bucket.
    """

    names: frozenset[str]
    identity: Identity | None = None

    def is_same(self, other: _Spot) -> bool:
        return not self.names.isdisjoint(other.names) or (self.identity is not None and self.identity == other.identity)

    def is_above(self, other: _Spot) -> bool:
        chains = [_chain(name.rpartition("/")[0]) for name in other.names]
        return any(not self.names.isdisjoint(names) or self.identity in identities for names, identities in chains)


@functools.lru_cache(maxsize=1024)
def _chain(folder: str) -> tuple[frozenset[str], frozenset[Identity]]:
    """A folder and all that it lies in, by name and identity; a pattern names many files in few folders."""
    parts = folder.split("/")
    names = ["/".join(parts[:count]) or "/" for count in range(1, len(parts) + 1)]
    return frozenset(names), frozenset(identity for identity in map(_identity, names) if identity is not None)


def _spots(text: str) -> Iterator[_Spot]:
    """The places that a path or a pattern of an input names now."""
    if text == STDIN:
        yield _Spot(frozenset(), _identity("/dev/stdin"))
    elif not _is_pattern(text):
        yield _spot(text)
    else:
        yield _Spot(frozenset({f"{_base(text)[0]}/*"}))  # whatever it will name
        if not is_address(text):
            yield from map(_spot, glob.iglob(text, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute patterns)


def _would_be_read(written: _Spot, text: str) -> bool:
    """Whether a file, there or not, has a name that a pattern fits."""
    if not _is_pattern(text):
        return False
    base, pattern = _base(text)
    return any(fits(name[len(base) + 1 :], pattern) for name in written.names if name.startswith(f"{base}/"))


def _is_pattern(text: str) -> bool:
    return is_pattern(text) and (is_address(text) or not os.path.lexists(text))


def _base(pattern: str) -> tuple[str, str]:
    """The absolute name of the folder that a pattern searches, and the pattern within it."""
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if is_pattern(part))
    folder, rest = "/".join(parts[:first]), "/".join(parts[first:])
    if is_address(pattern):
        return folder, rest
    return os.path.realpath(folder or ("/" if first else ".")).rstrip("/"), rest


def _spot(path: str) -> _Spot:
    if "://" in path:
        return _Spot(frozenset({_address(path)}))
    identity = _identity(path)
    if identity is None and Path(path).exists():  # a terminal, a pipe: nothing that could be replaced
        return _Spot(frozenset())
    folder, name = os.path.split(path.rstrip("/"))
    if name in ("", ".", ".."):
        return _Spot(frozenset({os.path.realpath(path)}), identity)
    entry = f"{_real(folder or ('/' if path.startswith('/') else '.')).rstrip('/')}/{name}"
    names = {entry, os.path.realpath(path)} if os.path.islink(path) else {entry}  # noqa: PTH114 (faster, as below)
    return _Spot(frozenset(names), identity)


def _address(path: str) -> str:
    """The one way to write a gs:// address; what is none is left to those who open it."""
    try:
        return str(Address.of(path)).rstrip("/")
    except LocationError:
        return path


@functools.lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    """As `os.path.realpath`, which takes long."""
    return os.path.realpath(folder)


def _identity(path: str) -> Identity | None:
    """That of a file or a directory."""
    try:
        status = os.stat(path)  # noqa: PTH116 (much faster than Path.stat, for patterns of many files)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else None

"""This host's cache of shards: shared by all its processes, each file fetched once and there as a whole, under a size
limit.

An entry is one generation of an object. Who uses it has a hard link to it, so a file with more than one link is in use,
and the others are removed first, the longest unused before the rest. An unfinished entry is locked by who fetches it;
others wait for the lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from trainer.errors import CacheSizeError
from trainer.storage.bucket import StoredObject

GIGABYTE = 10**9
_UNFINISHED = ".unfinished"
_LIMIT_LOCK = ".limit"


def cache_root() -> Path:
    """Where this host keeps what comes from Cloud Storage."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recurrent-trainer"


class ShardCache:
    """Files up to `gigabytes` in `directory`."""

    def __init__(self, directory: Path, gigabytes: float):
        self._directory, self._gigabytes = directory, gigabytes
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory / _LIMIT_LOCK):
            self._make_room(0)

    @property
    def limit(self) -> int:
        """Largest size, in bytes."""
        return int(self._gigabytes * GIGABYTE)

    def link(self, stored: StoredObject, path: Path, fetch: Callable[[StoredObject, IO[bytes]], None]) -> None:
        """Links an object's content to `path`, fetched first where no process of this host has done that.

        Args:
          stored: the object.
          path: in the cache's file system; must not exist.
          fetch: writes the content to a file, as `bucket.download`; its errors are raised here.

        Raises:
          CacheSizeError: the limit leaves no room beside what is in use.
        """
        entry = self._directory / _key(stored)
        unfinished = entry.with_name(entry.name + _UNFINISHED)
        while not self._use(entry, path):
            with os.fdopen(os.open(unfinished, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not _is_same(file, unfinished):
                    continue  # while we waited another process has finished it, or given up
                try:
                    if entry.exists():  # since we looked; this file is a new one
                        unfinished.unlink()
                        continue
                    if not self._reserve(stored, file, unfinished):
                        continue
                    fetch(stored, file)
                    os.link(unfinished, path)  # before it has its name, from when on it may be removed
                    with locked(
                        self._directory / _LIMIT_LOCK
                    ):  # who adds up the files must find it under one of its names
                        unfinished.rename(entry)
                except BaseException:
                    unfinished.unlink(missing_ok=True)
                    raise
                return

    def _use(self, entry: Path, path: Path) -> bool:
        try:
            os.link(entry, path)
        except FileNotFoundError:
            return False
        os.utime(path)
        return True

    def _reserve(self, stored: StoredObject, file: IO[bytes], unfinished: Path) -> bool:
        """Gives the file its size, once there is room for it; False where it was removed, before we had its lock, to
        make room.
        """
        with locked(self._directory / _LIMIT_LOCK):
            if not _is_same(file, unfinished):
                return False
            file.truncate(0)  # of a killed process
            if (missing := self._make_room(stored.bytes)) > 0:
                reason = (
                    f"leaves {missing / GIGABYTE:.3g} GB too little for {stored.address} beside what is in use on "
                    "this host"
                )
                raise CacheSizeError(self._gigabytes, reason, "use more, or train and evaluate with --gcs=stream")
            file.truncate(stored.bytes)
            return True

    def _make_room(self, needed: int) -> int:
        """Removes entries until `needed` bytes fit; gives how many are missing, above 0 where what is left is in
        use.
        """
        entries = [(path, status) for path in self._directory.glob("[!.]*") if (status := _status(path)) is not None]
        excess = sum(status.st_size for _, status in entries) + needed - self.limit
        for path, status in sorted(entries, key=lambda entry: entry[1].st_mtime):
            if excess > 0 and status.st_nlink == 1 and (path.suffix != _UNFINISHED or _is_abandoned(path)):
                path.unlink(missing_ok=True)
                excess -= status.st_size
        return excess


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which is made where it is missing, against other processes and threads."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(file: IO) -> bool:  # type: ignore[type-arg]
    """Takes the lock of an open file unless somebody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _key(stored: StoredObject) -> str:
    digest = hashlib.sha256(f"{stored.address}#{stored.generation}".encode()).hexdigest()[:24]
    return f"{digest}-{stored.address.name.rpartition('/')[2][-100:]}"


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # just finished or removed
        return None


def _is_same(file: IO[bytes], path: Path) -> bool:
    status = _status(path)
    return status is not None and os.path.samestat(os.fstat(file.fileno()), status)


def _is_abandoned(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return try_lock(file)
    return False

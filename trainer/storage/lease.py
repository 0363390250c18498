"""One writer at a time for a directory, on local disks, network file systems and in buckets.

The writer keeps a small file that it writes anew every `RENEW_SECONDS`. Who finds one that its holder does not renew
for `EXPIRE_SECONDS`, or whose holder is known to be dead, takes it over; clocks of different hosts are not compared.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from trainer.errors import DataError, LocationError, StorageError, TrainerError
from trainer.storage import bucket
from trainer.storage.addresses import Address, is_address
from trainer.storage.atomic_file import atomic_file
from trainer.storage.process_start import start_ticks

logger = logging.getLogger(__name__)

FILE = ".writer.json"
RENEW_SECONDS = 5.0
EXPIRE_SECONDS = 30.0
POLL_SECONDS = 1.0
READ_ATTEMPTS = 10
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE)

Version = Any  # by which a store knows whether the file is still what was read


@dataclass(frozen=True)
class Holder:
    """The process that writes.

    Attributes:
        id: unique.
        host: its name; in a cluster the pod's.
        process: its number, within `namespace` since the start of the system `boot`.
        started: ticks from the start of the system to that of the process.
        since: when it began to write, for people.
        renewals: how often it has told that it is alive.
    """

    id: str
    host: str
    process: int
    namespace: str
    boot: str
    started: int | None
    since: str
    renewals: int = 0

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"

    def is_dead(self) -> bool:
        """Whether it certainly is: a process of this system whose number is free, or another process's by now."""
        here = _this_process()
        if (self.host, self.boot, self.namespace) != (here.host, here.boot, here.namespace):
            return False
        return start_ticks(self.process) != self.started


class Store(Protocol):
    """Where the file is; each change is made only if the file is as it was read."""

    def read(self) -> tuple[bytes, Version] | None:
        """The content, None where there is no file."""

    def write(self, content: bytes, version: Version | None) -> Version | None:
        """Writes where there is still that version, or still no file for None; gives the new version, else None."""

    def delete(self, version: Version) -> None:
        """Deletes the file if it still has that version."""


class FileStore:
    """A file in a directory, which is made. Two that take over one lease at once are told apart a moment later: files
    cannot be compared and replaced in one step.
    """

    def __init__(self, directory: Path):
        self._path, self._settle_seconds = directory / FILE, POLL_SECONDS
        self._made = False  # whether the directory is ours

    def read(self) -> tuple[bytes, Version] | None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return content, content

    def write(self, content: bytes, version: Version | None) -> Version | None:
        if version is None:
            self._made = self._made or not self._path.parent.exists()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._create(content)
        before = self.read()
        if before is None or before[1] != version:
            return None
        with atomic_file(self._path) as temporary:
            temporary.write_bytes(content)
        if _id_of(content) != _id_of(before[0]):  # a takeover
            time.sleep(self._settle_seconds)
            after = self.read()
            return content if after is not None and after[0] == content else None
        return content

    def _create(self, content: bytes) -> Version | None:
        temporary = self._path.with_name(f"{FILE}.{uuid.uuid4().hex[:8]}")
        temporary.write_bytes(content)
        try:
            os.link(temporary, self._path)  # fails where there is one, on network file systems too
        except FileExistsError:
            return None
        finally:
            temporary.unlink()
        return content

    def delete(self, version: Version) -> None:
        there = self.read()
        if there is not None and there[1] == version:
            self._path.unlink(missing_ok=True)
            if self._made:
                with contextlib.suppress(OSError):  # it holds something by now
                    self._path.parent.rmdir()


class ObjectStore:
    """An object, whose generation tells whether it is still the same."""

    def __init__(self, address: Address):
        self._address = address.inside(FILE)

    def read(self) -> tuple[bytes, Version] | None:
        for _ in range(READ_ATTEMPTS):  # it may change while it is read, as that of a living holder does
            try:
                return bucket.read_version(self._address)
            except DataError as error:
                failure = error
        raise failure

    def write(self, content: bytes, version: Version | None) -> Version | None:
        written = bucket.write_version(self._address, content, version)
        if written is None and (there := self.read()) is not None and there[0] == content:
            return there[1]  # our own, whose answer was lost
        return written

    def delete(self, version: Version) -> None:
        bucket.delete_version(self._address, version)


class Lease:
    """The right to write a directory, as long as `check` does not raise."""

    def __init__(self, place: str, store: Store, holder: Holder, version: Version):
        self._place, self._store, self._holder, self._version = place, store, holder, version
        self._lost_to: str | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def keep(self) -> None:
        """Renews the lease with a thread from now on; not before a fork."""
        self._thread = threading.Thread(target=self._renew_until_the_end, daemon=True, name="lease")
        self._thread.start()

    def check(self) -> None:
        """Raises LocationError where another run has taken over, since this one was silent for too long."""
        if self._lost_to is not None:
            raise LocationError(
                self._place,
                f"was taken over by another run ({self._lost_to}) while this one was frozen",
                "let it go on",
            )

    def renew(self) -> None:
        with self._lock:
            if self._lost_to is not None or self._ended.is_set():
                return
            holder = replace(self._holder, renewals=self._holder.renewals + 1)
            version = self._store.write(_content(holder), self._version)
            if version is not None:
                self._holder, self._version = holder, version
                return
            other = self._store.read()
            if other is not None:
                self._lost_to = _described(other[0])
            elif (version := self._store.write(_content(holder), None)) is not None:  # somebody has removed the file
                self._holder, self._version = holder, version

    def release(self) -> None:
        """Ends the lease; the next run need not wait."""
        self._ended.set()
        with self._lock:
            if self._lost_to is None:
                try:
                    self._store.delete(self._version)
                except (OSError, TrainerError) as error:
                    logger.warning("%s: the mark of its writer is left (%s); it expires by itself", self._place, error)
        if self._thread is not None:
            self._thread.join(RENEW_SECONDS)

    def _renew_until_the_end(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self.renew()
            except Exception as error:  # whatever it is, the run goes on and the next renewal may do
                logger.warning("%s: cannot tell that this run goes on (%s)", self._place, error)


def acquire(place: str, sleep: Callable[[float], None] = time.sleep) -> Lease:
    """The lease of a directory or an address.

    Raises:
      LocationError: another run writes there; or nobody may.
      StorageError: the disk is full, or does not answer.
    """
    store: Store = ObjectStore(Address.of(place)) if is_address(place) else FileStore(Path(place))
    holder = _this_process()
    try:
        while True:
            version = store.write(_content(holder), None)
            if version is None and (there := store.read()) is not None:
                version = _taken_over(place, store, holder, there, sleep)
            if version is not None:
                return Lease(place, store, holder, version)
    except OSError as error:
        if error.errno in PASSING:
            raise StorageError(
                f"{place} cannot be written ({error.strerror}); run the same command again when it can"
            ) from None
        raise LocationError(place, f"cannot be written ({error.strerror})", "name a directory that can") from None


def _taken_over(
    place: str, store: Store, holder: Holder, there: tuple[bytes, Version], sleep: Callable[[float], None]
) -> Version | None:
    """The lease of one that is dead, or silent for too long; None where it has changed hands meanwhile.

    Raises:
      LocationError: its holder is alive.
    """
    content, version = there
    other = _parsed(content)
    if other is None or not other.is_dead():
        logger.info("%s: another run wrote here (%s); waiting whether it still does", place, _described(content))
        for _ in range(round(EXPIRE_SECONDS / POLL_SECONDS)):
            sleep(POLL_SECONDS)
            now = store.read()
            if now is None:
                return None
            if now[1] != version:
                raise LocationError(
                    place,
                    f"is written by another run ({_described(now[0])})",
                    "name another directory, or end that run",
                )
    logger.info("%s: taken over from a run that has ended (%s)", place, _described(content))
    return store.write(_content(holder), version)


def _this_process() -> Holder:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    process = os.getpid()
    namespace = str(Path("/proc/self/ns/pid").readlink())
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Holder(uuid.uuid4().hex, socket.gethostname(), process, namespace, boot, start_ticks(process), since)


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _parsed(content: bytes) -> Holder | None:
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):  # of another version
        return None


def _id_of(content: bytes) -> str:
    holder = _parsed(content)
    return "" if holder is None else holder.id


def _described(content: bytes) -> str:
    return str(_parsed(content) or "which does not tell more of itself")

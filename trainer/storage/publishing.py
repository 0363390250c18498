"""A local directory or file, published to a gs:// address: what is new is written, in an order that never leaves half
of something.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from trainer.storage import bucket
from trainer.storage.addresses import Address

INCOMPLETE = ".incomplete"  # an object in a folder that is still being written

logger = logging.getLogger(__name__)

Stamp = tuple[int, int]  # size and time of change, by which a file that was published is known


class Publication:
    """Keeps `address` as `path` is.

    Args:
      path: a directory, whose files become objects in `address` (names that begin with a dot are left out), or a file.
      address: where to.
      last: patterns of names, as `fnmatch`: files that fit the first are written when all that fit none are there, then
        those that fit the second, and so on. What is gone from `path` is deleted in the opposite order, if it was
        published or `adopt`ed before.
      marked: whether `INCOMPLETE` lies in `address` until everything does.
    """

    def __init__(self, path: Path, address: Address, last: tuple[str, ...] = (), marked: bool = False):
        self._path, self._address, self._last, self._marked = path, address, last, marked
        self._published: dict[str, Stamp] = {}
        self._lock = threading.Lock()

    def adopt(self) -> None:
        """Takes the files that are there now for published."""
        self._published = dict(self._files())

    def publish(self) -> None:
        """Returns when everything is in the bucket; errors as `bucket.upload_all`."""
        with self._lock:
            started = time.monotonic()
            files = dict(self._files())
            changed = {name: stamp for name, stamp in files.items() if self._published.get(name) != stamp}
            gone = sorted(set(self._published) - set(files), key=self._rank, reverse=True)
            if not changed and not gone:
                return
            if self._marked:
                bucket.write(self._address.inside(INCOMPLETE), b"")
            for name in self._outdated(changed):
                self._delete(name)
                changed[name] = files[name]
            for _, names in groupby(sorted(changed, key=self._rank), key=self._rank):
                bucket.upload_all([(self._path / name, self._object(name)) for name in names])
            self._published |= changed
            for name in gone:
                self._delete(name)
            if self._marked:
                bucket.delete(self._address.inside(INCOMPLETE))
            size = sum(size for size, _ in changed.values())
            logger.info(
                "published %s: %d files, %.1f MB in %.2f s",
                self._address,
                len(changed),
                size / 1e6,
                time.monotonic() - started,
            )

    def _files(self) -> Iterator[tuple[str, Stamp]]:
        """Name within `path` (`.` for itself) and stamp of every file; links are no part of it."""
        paths = [self._path] if self._path.is_file() else sorted(self._path.rglob("*"))
        for path in paths:
            name = path.relative_to(self._path).as_posix()
            if name == "." or (path.is_file() and not any(part.startswith(".") for part in name.split("/"))):
                status = path.stat()
                yield name, (status.st_size, status.st_mtime_ns)

    def _outdated(self, changed: Mapping[str, Stamp]) -> list[str]:
        """Published files that belong to one that is about to change: they would tell of content that is no more
        there.
        """
        outdated = set()
        for name in changed.keys() & self._published.keys():
            stem, rank = name.partition(".")[0], self._rank(name)
            outdated |= {
                other for other in self._published if other.partition(".")[0] == stem and self._rank(other) > rank
            }
        return sorted(outdated, key=self._rank, reverse=True)

    def _delete(self, name: str) -> None:
        bucket.delete(self._object(name))
        del self._published[name]

    def _object(self, name: str) -> Address:
        return self._address if name == "." else self._address.inside(name)

    def _rank(self, name: str) -> int:
        return next((rank for rank, pattern in enumerate(self._last, start=1) if fnmatchcase(name, pattern)), 0)

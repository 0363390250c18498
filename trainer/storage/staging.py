"""The shards of a dataset in a bucket: fetched in the background while the program starts and reads those that have
come.

`size_of`, `source_of` and `arrived` tell of shards by the paths that they have, or will have once they are there; of
files in directories that are not staged they tell what the file system does.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from trainer.storage import bucket
from trainer.storage.addresses import is_address
from trainer.storage.bucket import StoredObject
from trainer.storage.shard_cache import ShardCache

logger = logging.getLogger(__name__)


class Staging:
    """The shards in `objects` (by file name): linked into `directory` out of a cache, or without one read in the
    bucket.
    """

    def __init__(self, directory: Path, objects: dict[str, StoredObject], cache: ShardCache | None):
        self.objects, self.streams = objects, cache is None
        self._directory, self._cache = directory, cache
        self._futures: dict[str, Future[None]] = {}
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started, self._left = 0.0, 0  # when the first of those on their way was asked for, and how many there are
        self._fetched: list[int] = []  # bytes of each that was not in the cache

    def ask_for(self, names: Iterable[str]) -> None:
        """Has shards fetched, in this order, after those that were asked for before."""
        with self._lock:
            if not self._futures:
                for _ in range(
                    bucket.PARALLEL_TRANSFERS
                ):  # daemons, so that a command that fails does not wait for them
                    threading.Thread(target=self._work, daemon=True, name="staging").start()
            new = [name for name in names if name not in self._futures]
            if not self._left:
                self._started = time.monotonic()
            self._left += len(new)
            for name in new:
                self._futures[name] = Future()
                self._queue.put(name)

    def wait_for(self, name: str) -> None:
        """Returns when a shard is there; raises what keeps it from coming, as `ShardCache.link` and
        `bucket.download`.
        """
        self.ask_for([name])
        self._futures[name].result()

    def _work(self) -> None:
        while True:
            name = self._queue.get()
            try:
                assert self._cache is not None
                self._cache.link(self.objects[name], self._directory / name, self._fetch)
            except BaseException as error:  # for whoever waits for the shard
                self._futures[name].set_exception(error)
            else:
                self._futures[name].set_result(None)
            self._count()

    def _count(self) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                figures = (len(self._fetched), sum(self._fetched) / 1e6, time.monotonic() - self._started)
                logger.info("fetched %d shards, %.1f MB in %.2f s; the others were in the cache", *figures)
                self._fetched.clear()

    def _fetch(self, stored: StoredObject, file: IO[bytes]) -> None:
        bucket.download(stored, file)
        self._fetched.append(stored.bytes)


_staged: dict[Path, Staging] = {}  # directory -> its shards


def register(directory: Path, staging: Staging) -> None:
    """From now on the functions below tell of `directory` what `staging` knows."""
    _staged[directory] = staging


def forget(directory: Path) -> None:
    _staged.pop(directory, None)


def size_of(path: Path) -> int | None:
    """Bytes of a file, here or in its bucket; None where there is none."""
    if (staging := _staged.get(path.parent)) is not None:
        stored = staging.objects.get(path.name)
        return None if stored is None else stored.bytes
    return path.stat().st_size if path.is_file() else None


def source_of(path: Path) -> str:
    """The name by which TensorFlow opens a file: its path, or where it is streamed its gs:// address."""
    staging = _staged.get(path.parent)
    return str(staging.objects[path.name].address) if staging is not None and staging.streams else str(path)


def is_coming(source: str) -> bool:
    """Whether `arrived` may have to wait."""
    return Path(source).parent in _staged


def arrived(source: str) -> str:
    """Gives `source` (of `source_of`) as soon as it can be opened.

    Raises:
      TrainerError: it cannot be fetched; see `bucket.download` and `ShardCache.link`.
    """
    path = Path(source)
    if not is_address(source) and (staging := _staged.get(path.parent)) is not None:
        staging.wait_for(path.name)
    return source

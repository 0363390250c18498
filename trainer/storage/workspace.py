"""A command's files: whatever its flags name in Cloud Storage has a place on this host while it runs."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from trainer.errors import CacheSizeError, DataError, LocationError, StorageError, TrainerError
from trainer.storage import bucket, staging
from trainer.storage.addresses import Address, fits, fixed_part, is_address, is_pattern
from trainer.storage.publishing import INCOMPLETE, Publication
from trainer.storage.shard_cache import GIGABYTE, ShardCache, cache_root, locked, try_lock
from trainer.storage.staging import Staging

SHARD_MARK = ".tfrecord-"  # in the name of a shard, between its split and its number
LOCK_FILE = ".lock"

Choice = Callable[[list[str]], Iterable[str]]  # names of objects -> those that are wanted

logger = logging.getLogger(__name__)


class Workspace:
    """A context that gives local paths for gs:// addresses, and publishes what was written there when it ends well.

    Paths that are no addresses are given back as they are, at no cost. The methods raise LocationError for what is not
    an address, a bucket that does not exist, missing credentials or permissions, DataError for objects that are missing
    or damaged, and RestartError where the service does not answer.
    """

    def __init__(self) -> None:
        self._root: Path | None = None
        self._lock: IO[str] | None = None  # held while the process lives, so that others know whose files are left over
        self._outputs: list[Publication] = []
        self._run: Publication | None = None
        self._stagings: dict[Path, Staging] = {}
        self._prefetched: list[str] = []

    def names(self, path: str) -> list[str]:
        """Names of the objects in an address, as seen from there."""
        if not is_address(path):
            return []
        address = Address.of(path)
        return [stored.address.name.removeprefix(address.prefix) for stored in bucket.list_objects(address)]

    def read(self, path: str, choice: Choice = lambda names: names) -> str:
        """A directory that holds the chosen objects of an address; it is not there where there are none."""
        if not is_address(path):
            return path
        address = Address.of(path)
        objects = {one.address.name.removeprefix(address.prefix): one for one in bucket.list_objects(address)}
        directory = self._place(address)
        bucket.download_all([(objects[name], self._place(address.inside(name))) for name in choice(list(objects))])
        return str(directory)

    def read_files(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Files for paths and patterns (as of `glob`), the objects that fit a pattern by name; DataError where none
        does.
        """
        return tuple(
            local for path in paths for local in (self._read_pattern(Address.of(path)) if is_address(path) else [path])
        )

    def _read_pattern(self, address: Address) -> list[str]:
        objects = bucket.list_objects(address, fixed_part(address.name))
        kept = [one for one in objects if one.address.name == address.name]
        if not kept and is_pattern(address.name):
            kept = [one for one in objects if fits(one.address.name, address.name)]
        if not kept:
            raise DataError(f"{address} names no object; check the name")
        bucket.download_all([(one, self._place(one.address)) for one in kept])
        return [str(self._place(one.address)) for one in kept]

    def dataset(self, path: str, splits: Iterable[str], cache_gigabytes: float, *, stream: bool = False) -> str:
        """The directory of --data_dir: its small files, and from `begin` on its shards, as `staging` tells.

        Args:
          path: of the dataset.
          splits: those that will be read, in their order; the shards of others come when they are asked for.
          cache_gigabytes: largest size of this host's cache; CacheSizeError where the shards of `splits` cannot all
            be in it.
          stream: leaves the shards in the bucket, where TensorFlow reads them.
        """
        if not is_address(path):
            return path
        address = Address.of(path)
        directory = self._place(address)
        objects = {one.address.name.removeprefix(address.prefix): one for one in bucket.list_objects(address)}
        objects = {name: one for name, one in objects.items() if "/" not in name}  # a dataset has no directories
        shards = {name: one for name, one in objects.items() if SHARD_MARK in name}
        bucket.download_all([(one, self._place(one.address)) for name, one in objects.items() if name not in shards])
        cache = None if stream else ShardCache(cache_root() / "shards", cache_gigabytes)
        if cache is not None:
            self._prefetched = [name for split in splits for name in sorted(shards) if f"-{split}{SHARD_MARK}" in name]
            size = sum(shards[name].bytes for name in self._prefetched)
            if size > cache.limit:
                reason = f"is less than the {size / GIGABYTE:.3g} GB of shards that are read of {path}"
                raise CacheSizeError(cache_gigabytes, reason, "use more, or train and evaluate with --gcs=stream")
        self._stagings[directory] = Staging(directory, shards, cache)
        staging.register(directory, self._stagings[directory])
        return str(directory)

    def begin(self) -> None:
        """Starts to fetch the shards of the dataset, with threads (so not before a fork)."""
        for staged in self._stagings.values():
            if self._prefetched:
                staged.ask_for(self._prefetched)

    def write(self, path: str, last: tuple[str, ...] = ()) -> str:
        """A place for a directory or a file, published when the context ends well; `last` is that of `Publication`."""
        if not is_address(path):
            return path
        address = Address.of(path)
        bucket.list_objects(address)  # may we, and is the bucket there? It is better to know before the work
        self._outputs.append(Publication(self._place(address), address, last))
        return str(self._place(address))

    def write_new(self, path: str, complete: str) -> str:
        """As `write`, for a directory that must not be there yet, and is once it has the file `complete`.

        What a killed command left at the address is deleted.

        Raises:
          LocationError: there is one, or something else.
        """
        if not is_address(path):
            return path
        address, names = Address.of(path), self.names(path)
        if complete in names:
            raise LocationError(path, f"has {complete} already", "choose another, or delete it")
        if names and INCOMPLETE not in names:
            raise LocationError(path, "holds other objects", "choose another")
        for name in names:
            bucket.delete(address.inside(name))
        self._outputs.append(Publication(self._place(address), address, (complete,), marked=True))
        return str(self._place(address))

    def write_shared(self, path: str) -> tuple[str, Address | None]:
        """A directory on this host for files on their way to an address that several hosts write to, and that address,
        if it is one.
        """
        if not is_address(path):
            return path, None
        address = Address.of(path)
        return str(self._place(address)), address

    def go_on(self, path: str, choice: Choice, last: tuple[str, ...], *, publishes: bool) -> str:
        """A directory to go on in, with what is there already; published by `publish`, and when the context ends, well
        or not.

        Args:
          path: the directory.
          choice: as for `read`.
          last: as for `Publication`.
          publishes: False for the processes of a run that only read.
        """
        directory = self.read(path, choice)
        if publishes and is_address(path):
            self._run = Publication(Path(directory), Address.of(path), last)
            self._run.adopt()
        return directory

    def publish(self) -> None:
        """Returns when the directory of `go_on` is in the bucket as it is here."""
        if self._run is not None:
            self._run.publish()

    def to_addresses(self, value: Any) -> Any:
        """A text, or texts in lists and dictionaries, with addresses in the place of the paths that stand for them."""
        if self._root is None:
            return value
        if isinstance(value, str):
            return re.sub(re.escape(str(self._root)) + "/", "gs://", value)
        if isinstance(value, dict):
            return {key: self.to_addresses(entry) for key, entry in value.items()}
        return [self.to_addresses(entry) for entry in value] if isinstance(value, list) else value

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TrainerError):
            error.args = tuple(self.to_addresses(list(error.args)))
        try:
            if error is None:
                for output in self._outputs:
                    output.publish()
                self.publish()
            elif self._run is not None:
                self._publish_in_spite_of(error)
        finally:
            for directory in self._stagings:
                staging.forget(directory)
            if self._root is not None and self._lock is not None:
                shutil.rmtree(self._root, ignore_errors=True)
                self._lock.close()

    def _publish_in_spite_of(self, error: BaseException) -> None:
        try:
            self.publish()
        except TrainerError as failure:
            logger.warning("not everything is published: %s", failure)

    def _place(self, address: Address) -> Path:
        """The path that stands for an address; DataError where the name would lead elsewhere."""
        if {"", ".", ".."} & set(address.name.split("/")) and address.name:
            raise DataError(f"{address} has a name that is not a path; copy it to another")
        if self._root is None:
            self._root, self._lock = _new_root()
        place = self._root / address.bucket / address.name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _new_root() -> tuple[Path, IO[str]]:
    """A directory for this process, with the open file whose lock tells that the process lives; those of dead ones are
    removed.
    """
    works = cache_root() / "work"
    try:
        works.mkdir(parents=True, exist_ok=True)
        with locked(works / LOCK_FILE):
            for other in works.iterdir():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError), (other / LOCK_FILE).open() as file:
                    if try_lock(file):
                        shutil.rmtree(other, ignore_errors=True)
            root = Path(tempfile.mkdtemp(dir=works))
            lock = (root / LOCK_FILE).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            return root, lock
    except OSError as error:
        reason = f"{works} cannot be written ({error.strerror}), where files of gs:// addresses are kept"
        raise StorageError(f"{reason}; set XDG_CACHE_HOME to a directory that can") from None

"""Where the tasks of one preparation put what they make: a directory that all of them see, or a bucket.

Names are relative to the dataset, with `/` between folders.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer.dataset.manifest import MANIFEST_FILE
from trainer.storage import bucket
from trainer.storage.addresses import Address
from trainer.storage.atomic_file import atomic_file


class SharedDirectory:
    """`directory` is the dataset's own: what is written into it is shared."""

    def __init__(self, directory: Path):
        self.directory = directory

    def names(self, folder: str = "") -> set[str]:
        """The files and folders right in a folder. (Listed: a file system over the network may remember for long that
        one was missing.)
        """
        path = self.directory / folder
        return set(os.listdir(path)) if path.is_dir() else set()  # noqa: PTH208

    def sizes(self) -> dict[str, tuple[int, str | None]]:
        """The files right in the dataset: bytes of each, and its CRC32C where that is known without reading it."""
        files = (path for path in self.directory.glob("[!.]*") if path.is_file())  # not those that are being written
        return {path.name: (path.stat().st_size, None) for path in files}

    def read(self, *names: str) -> list[bytes]:
        """The contents of files; FileNotFoundError where one is missing."""
        return [(self.directory / name).read_bytes() for name in names]

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, which appears whole."""
        with atomic_file(self.directory / name) as path:
            path.write_bytes(content)

    def share(self, *names: str) -> None:
        """Has the others see files that were written into `directory`."""

    def fetch(self, *names: str) -> None:
        """Has files be in `directory`; FileNotFoundError where one is missing."""

    def drop(self, name: str) -> None:
        """A file in `directory` is not needed on this host any more, where that is not the place that is shared."""

    def complete(self) -> None:
        """Has the others see the rest of `directory`, its `MANIFEST_FILE` last."""

    def delete(self, name: str) -> None:
        """Deletes a file, if it is there."""
        (self.directory / name).unlink(missing_ok=True)

    def delete_folder(self, folder: str) -> None:
        shutil.rmtree(self.directory / folder, ignore_errors=True)


class SharedBucket(SharedDirectory):
    """The objects in `address`; `directory` is a place on this host for files on their way there. Errors as those of
    `bucket`.
    """

    def __init__(self, directory: Path, address: Address):
        super().__init__(directory)
        self._address = address
        directory.mkdir(parents=True, exist_ok=True)

    def names(self, folder: str = "") -> set[str]:
        address = self._address.inside(folder)
        return {
            stored.address.name.removeprefix(address.prefix).partition("/")[0]
            for stored in bucket.list_objects(address)
        }

    def sizes(self) -> dict[str, tuple[int, str | None]]:
        objects = {
            one.address.name.removeprefix(self._address.prefix): one for one in bucket.list_objects(self._address)
        }
        return {name: (one.bytes, f"{one.crc32c:08x}") for name, one in objects.items() if "/" not in name}

    def read(self, *names: str) -> list[bytes]:
        with ThreadPoolExecutor(bucket.PARALLEL_TRANSFERS) as pool:
            contents = list(pool.map(bucket.read, [self._address.inside(name) for name in names]))
        for name, content in zip(names, contents):
            if content is None:
                raise FileNotFoundError(name)
        return [content for content in contents if content is not None]

    def write(self, name: str, content: bytes) -> None:
        bucket.write(self._address.inside(name), content)

    def share(self, *names: str) -> None:
        if names:
            bucket.upload_all([(self.directory / name, self._address.inside(name)) for name in names])

    def fetch(self, *names: str) -> None:
        for name in (name for name in names if not (self.directory / name).exists()):
            stored = bucket.find_object(self._address.inside(name))
            if stored is None:
                raise FileNotFoundError(name)
            bucket.download_all([(stored, self.directory / name)])

    def drop(self, name: str) -> None:
        (self.directory / name).unlink()

    def complete(self) -> None:
        names = {path.name for path in self.directory.glob("[!.]*") if path.is_file()} - {MANIFEST_FILE}
        self.share(*sorted(names))
        self.share(MANIFEST_FILE)

    def delete(self, name: str) -> None:
        bucket.delete(self._address.inside(name))

    def delete_folder(self, folder: str) -> None:
        bucket.delete_all([stored.address for stored in bucket.list_objects(self._address.inside(folder))])

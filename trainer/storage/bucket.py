"""Objects of Cloud Storage, listed, read, written and deleted: parallel, retried, every byte checked by CRC32C."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trainer.errors import DataError
from trainer.storage import failures
from trainer.storage.addresses import Address
from trainer.storage.atomic_file import atomic_file
from trainer.storage.failures import ChecksumError, translate_errors
from trainer.storage.file_checksum import crc32c_of

PARALLEL_TRANSFERS = 8
UPLOAD_CHUNK_BYTES = 16 * 2**20  # in memory for each transfer; Google's client would take 100 MiB
ATTEMPTS = 3  # at a transfer whose checksum comes out wrong, or whose upload session is lost

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredObject:
    """One generation of an object: its content never changes."""

    address: Address
    bytes: int
    crc32c: int
    generation: int


def list_objects(address: Address, prefix: str | None = None) -> list[StoredObject]:
    """The objects in `address` (or whose names begin with `prefix`), by name; errors as `failures.translate_errors`."""
    with translate_errors(address):
        blobs = _client().list_blobs(
            address.bucket, prefix=address.prefix if prefix is None else prefix, retry=_retry()
        )
        return [
            _stored(address, blob) for blob in blobs if not blob.name.endswith("/")
        ]  # such are folders made by hand


def find_object(address: Address) -> StoredObject | None:
    """The object at `address`; None where there is none."""
    return next((stored for stored in list_objects(address, address.name) if stored.address == address), None)


def download(stored: StoredObject, file: IO[bytes]) -> None:
    """Writes an object's content to the start of `file`; errors as `failures.translate_errors`.

    The checksum is compared here: Google's client leaves that out where a transfer was cut off and went on.
    """
    with translate_errors(stored.address):
        for attempt in range(1, ATTEMPTS + 1):
            file.seek(0)
            _blob(stored.address, stored.generation).download_to_file(file, checksum=None, retry=_retry())
            file.flush()
            arrived = crc32c_of(file)
            if arrived == stored.crc32c:
                return
            logger.warning("%s arrived damaged, attempt %d of %d", stored.address, attempt, ATTEMPTS)
        raise ChecksumError(f"{arrived:08x} instead of {stored.crc32c:08x}")


def download_all(pairs: Sequence[tuple[StoredObject, Path]]) -> None:
    """Writes objects to files, several at once, each whole or not at all; errors as `failures.translate_errors`, of the
    first that fails.
    """

    def fetch(pair: tuple[StoredObject, Path]) -> None:
        stored, path = pair
        with atomic_file(path) as temporary, temporary.open("w+b") as file:
            download(stored, file)

    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        for _ in pool.map(fetch, pairs):
            pass


def upload_all(files: Sequence[tuple[Path, Address]]) -> None:
    """Writes files to objects, several at once, large ones in resumable sessions; errors as
    `failures.translate_errors`, of the first that fails.

    A file that grows meanwhile is written as long as it was at the start.
    """
    from google.cloud.storage import transfer_manager
    from google.cloud.storage.exceptions import DataCorruption

    again = (400, 404, 410)  # damaged on the way; a session that the service forgot
    left = list(files)
    for attempt in range(1, ATTEMPTS + 1):
        with translate_errors(left[0][1], writing=True):
            pairs = [
                (str(path), _bucket(address).blob(address.name, chunk_size=UPLOAD_CHUNK_BYTES))
                for path, address in left
            ]
        options = {"checksum": "crc32c", "retry": _retry()}
        results = transfer_manager.upload_many(
            pairs, upload_kwargs=options, worker_type=transfer_manager.THREAD, max_workers=PARALLEL_TRANSFERS
        )
        failed = [(pair, result) for pair, result in zip(left, results) if isinstance(result, Exception)]
        for (_, address), error in failed:
            if attempt == ATTEMPTS or not (isinstance(error, DataCorruption) or getattr(error, "code", None) in again):
                with translate_errors(address, writing=True):
                    raise error
            logger.warning("%s was not written, attempt %d of %d", address, attempt, ATTEMPTS)
        left = [pair for pair, _ in failed]
        if not left:
            return


def write(address: Address, content: bytes) -> None:
    """Writes a small object; errors as `failures.translate_errors`."""
    with translate_errors(address, writing=True):
        _blob(address).upload_from_string(content, checksum="crc32c", retry=_retry())


def read(address: Address) -> bytes | None:
    """The content of a small object; None where there is none. Errors as `failures.translate_errors`."""
    there = read_version(address)
    return None if there is None else there[0]


def read_version(address: Address) -> tuple[bytes, int] | None:
    """As `read`, with the object's generation."""
    attempt = 1
    while (stored := find_object(address)) is not None:
        content = io.BytesIO()
        try:
            download(stored, content)
        except DataError:  # somebody has written it anew since it was found
            if attempt == ATTEMPTS:
                raise
            attempt += 1
        else:
            return content.getvalue(), stored.generation
    return None


def write_version(address: Address, content: bytes, generation: int | None) -> int | None:
    """Writes a small object where it still has that generation, or is still absent for None; gives its new generation,
    None where nothing was written. Errors as `failures.translate_errors`.
    """
    from google.api_core.exceptions import PreconditionFailed

    blob = _blob(address)
    with translate_errors(address, writing=True):
        try:
            blob.upload_from_string(content, checksum="crc32c", if_generation_match=generation or 0, retry=_retry())
        except PreconditionFailed:
            return None
    return int(blob.generation)


def delete_version(address: Address, generation: int) -> None:
    """Deletes an object if it still has that generation; errors as `failures.translate_errors`."""
    from google.api_core.exceptions import NotFound, PreconditionFailed

    with translate_errors(address, writing=True), contextlib.suppress(NotFound, PreconditionFailed):
        _blob(address).delete(if_generation_match=generation, retry=_retry())


def delete_all(addresses: Sequence[Address]) -> None:
    """Deletes objects, several at once, those that are there; errors as `failures.translate_errors`, of the first that
    fails.
    """
    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        for _ in pool.map(delete, addresses):
            pass


def delete(address: Address) -> None:
    """Deletes an object, if it is there; errors as `failures.translate_errors`."""
    from google.api_core.exceptions import NotFound

    with translate_errors(address, writing=True), contextlib.suppress(NotFound):
        _blob(address).delete(retry=_retry())


def _stored(address: Address, blob: Any) -> StoredObject:
    crc32c = int.from_bytes(base64.b64decode(blob.crc32c), "big")
    return StoredObject(Address(address.bucket, blob.name), int(blob.size), crc32c, int(blob.generation))


def _blob(address: Address, generation: int | None = None) -> Any:
    return _bucket(address).blob(address.name, generation=generation)


def _bucket(address: Address) -> Any:
    return _client().bucket(address.bucket)


def _client() -> Any:
    return _connected(os.environ.get("STORAGE_EMULATOR_HOST"))


@functools.lru_cache(maxsize=1)
def _connected(emulator: str | None) -> Any:
    """Google's client with application default credentials, or without any where it talks to an emulator."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    logging.getLogger("urllib3.connectionpool").setLevel(
        logging.ERROR
    )  # tells of every retry, and of full pools, which do no harm
    deadline, pause = time.monotonic() + failures.RETRY_SECONDS, 0.5
    while True:
        try:
            return storage.Client(project=None)  # objects are found without one
        except DefaultCredentialsError:
            if not failures.metadata_may_come() or time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 16.0)


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=0.5, maximum=16.0, multiplier=2.0).with_timeout(failures.RETRY_SECONDS)

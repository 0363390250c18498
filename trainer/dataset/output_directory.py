"""The directory of a new dataset, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from trainer.dataset.manifest import MANIFEST_FILE
from trainer.errors import LocationError, StorageError


def check_new(output_dir: str) -> None:
    """Raises LocationError unless `output_dir` can become a new dataset: it must be absent, or an empty directory."""
    target = Path(output_dir)
    if "://" in output_dir:
        raise LocationError(output_dir, "is neither a local path nor a gs:// address", "use one of them")
    if (target / MANIFEST_FILE).exists():
        raise LocationError(output_dir, "holds a dataset", "choose another, or delete it")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise LocationError(output_dir, "exists and is not an empty directory", "choose another")
    if target.is_mount():
        raise LocationError(output_dir, "is a mount point", "choose a directory inside it")


@contextlib.contextmanager
def new_directory(output_dir: str) -> Iterator[Path]:
    """Gives a temporary sibling of `output_dir` to fill; it becomes `output_dir` by one rename when the context ends
    well.

    On any error it is removed. What killed runs of this host left behind is removed at the start.

    Raises:
      LocationError: as `check_new`.
      StorageError: the file system refused (disk full, no permission), in the context's body too.
    """
    check_new(output_dir)
    target = Path(output_dir).resolve()
    mark = f".{target.name}.incomplete-{socket.gethostname()}-"
    temporary = target.parent / f"{mark}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        with storage_errors(output_dir):
            target.parent.mkdir(parents=True, exist_ok=True)
            for leftover in target.parent.glob(f"{mark}*"):
                if not _is_running(leftover.name[len(mark) :].partition("-")[0]):
                    shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            _sync(temporary)
            temporary.rename(target)
            _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def storage_errors(output_dir: str) -> Iterator[None]:
    """Makes a StorageError that names the directory of an OSError in its context."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{output_dir} cannot be written ({reason}); free the space or choose another") from error


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):  # no process number, or somebody else's process
        return True
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Checkpoints as files: `ckpt-STEP.index` and its data appear whole, are read back, and are passed over if damaged."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from trainer.errors import DataError, LocationError, RestartError, StorageError
from trainer.storage.plain_path import plain_path

logger = logging.getLogger(__name__)

PREFIX = "ckpt"
UNFINISHED = ".writing"
ASIDE = "set_aside"


def path_of(directory: Path, step: int) -> Path:
    """The checkpoint of a step, as TensorFlow names it: files `PATH.index` and `PATH.data-...`."""
    return directory / f"{PREFIX}-{step}"


def steps_of(directory: Path) -> list[int]:
    """Steps with a checkpoint, rising.

    Raises:
      RestartError, LocationError: the directory is there and cannot be listed, as `damage`.
    """
    names: list[str] = []
    with _unreadable(directory):
        names = [path.stem for path in directory.iterdir() if path.suffix == ".index"]
    numbers = (name.removeprefix(f"{PREFIX}-") for name in names if name.startswith(f"{PREFIX}-"))
    return sorted(int(number) for number in numbers if number.isdigit())


def damage(path: Path) -> str | None:
    """Reads every tensor of a checkpoint, whose checksums TensorFlow compares; gives what is wrong, or None.

    Raises:
      RestartError: the storage does not give the files, which may be whole.
      LocationError: they may not be read.
    """
    wrong = _wrong(path)
    if wrong is None:
        return None
    with _unreadable(path):
        for part in _parts(path):
            with part.open("rb") as file:
                while file.read(1 << 22):
                    pass
    return _wrong(path)  # once more, as the system gives every byte now


def _wrong(path: Path) -> str | None:
    try:
        with plain_path(path) as plain:
            reader = tf.train.load_checkpoint(plain)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except (
        tf.errors.OpError,
        RuntimeError,
        ValueError,
        LookupError,
        OSError,
    ) as error:  # whatever the status becomes in Python
        return str(error).splitlines()[0]
    return None


@contextlib.contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    """Makes an error of the system one that tells whether another try can help: nothing is known of the files."""
    try:
        yield
    except FileNotFoundError:  # a directory that is not made yet; a checkpoint that misses a part, which is damaged
        return
    except PermissionError as error:
        reason = f"holds checkpoints that may not be read ({error.filename}: {error.strerror})"
        raise LocationError(str(path), reason, "give this user the right to read and write them") from None
    except OSError as error:
        raise RestartError(
            f"{path} cannot be read ({error.strerror}), and may be whole; nothing was deleted, run the same command "
            "again when the storage answers"
        ) from None


def newest_whole(directory: Path) -> int | None:
    """The newest step whose checkpoint is undamaged; damaged ones are passed over with a warning. None where there is
    none at all.

    Raises:
      DataError: there are checkpoints, and all are damaged.
      RestartError, LocationError: one cannot be read, as `damage`.
    """
    steps = steps_of(directory)
    for step in reversed(steps):
        wrong = damage(path_of(directory, step))
        if wrong is None:
            return step
        logger.warning("%s is damaged (%s) and passed over", path_of(directory, step), wrong)
    if steps:
        raise DataError(
            f"{directory} holds damaged checkpoints only; restore one from a backup, or delete the directory to start "
            "anew"
        )
    return None


def write(save: Callable[[str], object], directory: Path, step: int, keep: int) -> Path:
    """Writes a checkpoint under another name, reads it back, renames it, and only then deletes all but the last `keep`
    up to it.

    Args:
      save: writes a checkpoint to the path that it is given.
      directory: made where it is missing.
      step: of the checkpoint.
      keep: how many there may be in the end. Later steps than `step`, which were passed over, are set aside, as is an
        earlier attempt at this one.

    Raises:
      StorageError: the storage refuses, or gives back other bytes; checkpoints saved before stay as they are.
    """
    try:
        sweep(directory)
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = (
            directory / f"{UNFINISHED}-checkpoint"
        )  # without the step: TensorFlow and `re` keep every pattern that they have seen
        save(str(unfinished))
        wrong = damage(unfinished)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or str(error)
        sweep(directory)
        raise StorageError(
            f"{directory} takes no checkpoint of step {step} ({reason.splitlines()[0]}); "
            "free space and run the same command again: what was saved before is whole"
        ) from None
    if wrong is not None:
        raise StorageError(
            f"{unfinished} does not read back as it was written ({wrong}); check the storage, what was saved before "
            "is kept"
        )
    path = path_of(directory, step)
    if _parts(path):
        _set_aside(directory, step)  # of an earlier attempt, or damaged: its files may have other names
    for part in sorted(_parts(unfinished), key=lambda part: part.suffix == ".index"):
        part.rename(
            directory / part.name.replace(unfinished.name, path.name, 1)
        )  # the index last: with it the checkpoint is there
    kept = [other for other in steps_of(directory) if other <= step][-keep:]
    _tell_tensorflow(directory, [path_of(directory, other).name for other in kept])
    for other in set(steps_of(directory)) - set(kept):
        if other > step:
            _set_aside(directory, other)
        else:
            _delete(directory, other)
    return path


def _tell_tensorflow(directory: Path, names: list[str]) -> None:
    """Writes the file that `tf.train.latest_checkpoint` reads, the newest name last."""
    lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
    unfinished = directory / f"{UNFINISHED}-state"
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    unfinished.rename(directory / "checkpoint")


def sweep(directory: Path) -> None:
    """Removes what a killed writer left unfinished."""
    for part in directory.glob(f"{UNFINISHED}-*"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _set_aside(directory: Path, step: int) -> None:
    """Moves a checkpoint to `ASIDE`, its index first, where nobody looks for it; what lay there of that step goes."""
    aside = directory / ASIDE
    aside.mkdir(exist_ok=True)
    _delete(aside, step)
    for part in sorted(_parts(path_of(directory, step)), key=lambda part: part.suffix != ".index"):
        part.rename(aside / part.name)
    logger.warning("%s of an earlier attempt is kept in %s", path_of(directory, step).name, aside)


def _delete(directory: Path, step: int) -> None:
    """Deletes a checkpoint, its index first, so that no half of it is ever taken for a whole."""
    path = path_of(directory, step)
    path.with_name(f"{path.name}.index").unlink(missing_ok=True)
    for part in _parts(path):
        part.unlink(missing_ok=True)


def _parts(path: Path) -> list[Path]:
    """The files of a checkpoint."""
    return [part for part in path.parent.iterdir() if part.name.startswith(f"{path.name}.") and part.is_file()]

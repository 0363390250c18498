"""The shards of a dataset as files: there, of their size, of their checksum. No TensorFlow."""

from __future__ import annotations

from pathlib import Path

from trainer.dataset.schema import Manifest
from trainer.errors import DataError
from trainer.storage import staging
from trainer.storage.file_checksum import crc32c_of


def check_files(data_dir: str, manifest: Manifest, splits: tuple[str, ...]) -> list[str]:
    """The paths to read for the shards of `splits`, each once it has `staging.arrived`.

    Raises:
      DataError: one is missing, or of another size than it was written with.
    """
    paths = []
    for split in splits:
        for shard in manifest.splits[split].shards:
            path = Path(data_dir) / shard.file
            if (size := staging.size_of(path)) is None:
                raise DataError(f"{path} is missing; restore it or prepare the dataset again")
            if size != shard.bytes:
                raise DataError(
                    f"{path} has {size} bytes, {shard.bytes} were written: truncated or replaced; prepare the dataset "
                    "again"
                )
            paths.append(staging.source_of(path))
    return paths


def verify_files(data_dir: str, manifest: Manifest) -> int:
    """Compares every shard with the checksum that it was written with; gives the number of shards.

    Raises:
      DataError: a shard is missing or another one than was written; the text has a line for each.
    """
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    wrong = []
    for shard in shards:
        path = Path(data_dir) / shard.file
        if staging.size_of(path) is not None:
            staging.arrived(str(path))
        try:
            with path.open("rb") as file:
                checksum = f"{crc32c_of(file):08x}"
        except OSError as error:
            wrong.append(f"{path} cannot be read ({error.strerror}); restore it or prepare the dataset again")
            continue
        if checksum != shard.crc32c:
            reason = f"has the checksum {checksum}, {shard.crc32c} was written: damaged or replaced"
            wrong.append(f"{path} {reason}; restore it or prepare the dataset again")
    if wrong:
        raise DataError("\n".join(wrong))
    return len(shards)

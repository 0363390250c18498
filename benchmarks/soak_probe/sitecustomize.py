"""Loaded by every Python process of a soak: writes once a second how many memory blocks of Python's objects are in use.

`sys.getallocatedblocks` costs a microsecond where a walk over all objects costs a tenth of a second. The thread starts
with the import of TensorFlow, which only the process that trains imports: the ones that watch it stay without threads,
as they fork.
"""

import os
import sys
import threading
import time
from pathlib import Path

DIRECTORY = os.environ.get("SOAK_BLOCKS_DIRECTORY")


class _StartsWithTensorflow:
    """An import hook that finds nothing and removes itself."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "tensorflow":
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            threading.Thread(target=_write_blocks, name="soak_probe", daemon=True).start()


def _write_blocks() -> None:
    path = Path(str(DIRECTORY)) / str(os.getpid())
    while True:
        temporary = path.with_suffix(".new")
        temporary.write_text(str(sys.getallocatedblocks()), encoding="utf-8")
        temporary.replace(path)
        time.sleep(1)


if DIRECTORY:
    sys.meta_path.insert(0, _StartsWithTensorflow())  # type: ignore[arg-type]

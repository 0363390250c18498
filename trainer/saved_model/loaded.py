"""An exported model, found and loaded with TensorFlow alone."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from trainer.cli.quiet import banner_hidden
from trainer.errors import DataError
from trainer.saved_model.versions import CONTRACT_FILE, EXTRA_DIRECTORY, versions
from trainer.storage.plain_path import plain_path


def find_version(export_dir: str) -> Path:
    """The newest version under `export_dir`, or `export_dir` itself where it is one.

    Raises:
      DataError: there is no exported model.
    """
    directory = Path(export_dir)
    if (directory / "saved_model.pb").is_file():
        return directory
    whole = [version for version in versions(directory) if (directory / str(version) / "saved_model.pb").is_file()]
    if not whole:
        raise DataError(
            f"{export_dir} holds no exported model; write one with python -m trainer.export --export_dir={export_dir}"
        )
    return directory / str(whole[-1])


def read_contract(path: Path) -> dict[str, Any]:
    """The export's contract; DataError where it is missing or damaged."""
    file = path / EXTRA_DIRECTORY / CONTRACT_FILE
    try:
        contract: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); export the model again") from None
    if not {"limits", "batch_size"} <= contract.keys():
        raise DataError(f"{file} is that of an earlier version, without limits of requests; export the model again")
    return contract


def load(path: str, contract: dict[str, Any]) -> Any:
    """The SavedModel at `path`; DataError where it is damaged."""
    with banner_hidden():
        import tensorflow as tf

        for module in contract["op_modules"]:
            importlib.import_module(module)
    try:
        with plain_path(Path(path)) as plain:
            return tf.saved_model.load(plain)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise DataError(f"{path} cannot be loaded ({str(error).splitlines()[0]}); export the model again") from None

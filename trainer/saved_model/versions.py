"""How an export directory is laid out: numbered versions, each with a contract beside the model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainer.config.trained_model import MODEL_FILE

PUBLISHED_LAST = (f"*/{MODEL_FILE}",)  # in a bucket: a server loads no version before all of it is there
CONTRACT_FILE = "contract.json"
EXTRA_DIRECTORY = "assets.extra"  # TensorFlow Serving leaves it alone, apart from warm-up requests


def versions(export_dir: Path) -> list[int]:
    """Versions that a directory holds, rising; none where it does not exist."""
    if not export_dir.is_dir():
        return []
    return sorted(int(entry.name) for entry in export_dir.iterdir() if entry.is_dir() and entry.name.isdigit())


def versions_among(names: Iterable[str]) -> list[int]:
    """As `versions`, of the names of all files in a directory."""
    return sorted({int(name.split("/")[0]) for name in names if "/" in name and name.split("/")[0].isdigit()})


def newest_among(names: list[str]) -> list[str]:
    """The files of the newest version, out of all in an export directory; or of the version itself where it is one."""
    if MODEL_FILE in names:
        return names
    whole = [version for version in versions_among(names) if f"{version}/{MODEL_FILE}" in names]
    return [name for name in names if whole and name.startswith(f"{whole[-1]}/")]

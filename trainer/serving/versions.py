"""How an export directory is laid out: numbered versions, each with a contract beside the model."""

from __future__ import annotations

from pathlib import Path

CONTRACT_FILE = "contract.json"
EXTRA_DIRECTORY = "assets.extra"  # TensorFlow Serving leaves it alone, apart from warm-up requests


def versions(export_dir: Path) -> list[int]:
    """Versions that a directory holds, rising; none where it does not exist."""
    if not export_dir.is_dir():
        return []
    return sorted(int(entry.name) for entry in export_dir.iterdir() if entry.is_dir() and entry.name.isdigit())

"""Manifests of datasets of any task."""

from __future__ import annotations

from typing import Any

from trainer.dataset import manifest
from trainer.dataset.schema import Manifest
from trainer.tasks.registry import facts_type


def read(data_dir: str) -> Manifest:
    """The manifest of a dataset; raises DataError as `manifest.read`."""
    return manifest.read(data_dir, facts_type)


def decode(values: dict[str, Any]) -> Manifest:
    """The manifest out of its JSON; raises ValueError, KeyError or TypeError as `manifest.decode`."""
    return manifest.decode(values, facts_type)

"""The content of `dataset_info.json` and `features.json`, by which TFDS reads a dataset directory."""

from __future__ import annotations

import re
from typing import Any

from trainer.dataset.schema import Feature, Manifest


def file_prefix(name: str) -> str:
    """The beginning of the names of a dataset's files: its name in the snake case that TFDS accepts."""
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return words if words[:1].isalpha() else f"dataset_{words}".rstrip("_")


def dataset_info(manifest: Manifest) -> dict[str, Any]:
    """TFDS's dataset_info.json: a DatasetInfo message, whose 64-bit numbers are strings in JSON."""
    return {
        "description": f"Task {manifest.task}, prepared by {manifest.created_by}.",
        "fileFormat": "tfrecord",
        "moduleName": "trainer.prepare",
        "name": file_prefix(manifest.name),
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": name,
                "numBytes": str(split.bytes),
                "shardLengths": [str(shard.records) for shard in split.shards],
            }
            for name, split in manifest.splits.items()
        ],
        "version": "1.0.0",
    }


def features(entries: tuple[Feature, ...]) -> dict[str, Any]:
    """TFDS's features.json: numbers as Scalar, arrays as Tensor in raw bytes."""
    package = "tensorflow_datasets.core.features"
    described: dict[str, Any] = {}
    for entry in entries:
        dimensions = ["-1" if size is None else str(size) for size in entry.shape]
        described[entry.name] = {
            "pythonClassName": f"{package}.tensor_feature.Tensor" if dimensions else f"{package}.scalar.Scalar",
            "tensor": {
                "shape": {"dimensions": dimensions} if dimensions else {},
                "dtype": entry.dtype,
                "encoding": "bytes" if dimensions else "none",
            },
        }
    return {"pythonClassName": f"{package}.features_dict.FeaturesDict", "featuresDict": {"features": described}}

"""Inspection of any dataset: records one by one, sizes, lengths, vocabularies. No TensorFlow, one record in
memory at a time.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from trainer.dataset import tfrecord
from trainer.dataset.schema import Manifest
from trainer.dataset.shard_files import check_files
from trainer.dataset.special_tokens import SPECIAL, UNKNOWN
from trainer.errors import DataError
from trainer.storage import staging
from trainer.text.tokenizer import Tokenizer, read_ids

FREQUENT = 8  # tokens of a vocabulary that are shown
Record = dict[str, Any]


def inspect(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    """The description of any dataset: sizes of its splits, and the first records as they are; reads every record.

    Raises:
      DataError: a shard is missing or damaged.
    """
    shown: dict[str, list[Record]] = {split: [] for split in manifest.splits}
    for split, records in shown.items():

        def keep(record: Record, records: list[Record] = records) -> None:
            if len(records) < examples:
                records.append(record)

        read_split(data_dir, manifest, split, keep)
    first = {
        split: [{name: _plain(values) for name, values in record.items()} for record in records]
        for split, records in shown.items()
    }
    return {"splits": {split: files(manifest, split) for split in manifest.splits}, "examples": first}


def _plain(values: list[Any]) -> Any:
    plain = [value.hex() if isinstance(value, bytes) else value for value in values]
    return plain[0] if len(plain) == 1 else plain


def read_split(data_dir: str, manifest: Manifest, split: str, read: Callable[[Record], None]) -> None:
    """Hands every record of a split to `read`, in order; DataError names the record that does not fit."""
    paths = check_files(data_dir, manifest, (split,))
    with tqdm(
        total=manifest.splits[split].records, unit=" records", desc=split, disable=not sys.stderr.isatty()
    ) as bar:
        for path in paths:
            for number, content in enumerate(tfrecord.scan(staging.arrived(path))):
                try:
                    read(tfrecord.decode_example(content))
                except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                    reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                    remedy = "prepare the dataset again"
                    raise DataError(
                        f"{path} record {number} is none of a {manifest.task} dataset ({reason}); {remedy}"
                    ) from None
                bar.update()


def array(record: Record, name: str, manifest: Manifest) -> np.ndarray:
    """An array feature, one-dimensional, of the type that the manifest tells; ids as they are."""
    feature = next(feature for feature in manifest.features if feature.name == name)
    dtype = np.dtype(feature.dtype)
    return read_ids(np.frombuffer(record[name][0], dtype.newbyteorder("<")).astype(dtype), feature.lowest)


def token_counts(tokens: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """How often each token of the vocabulary is there, [V]; ValueError for an id outside of it."""
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < tokenizer.size:
        raise ValueError(f"it holds an id outside the vocabulary of {tokenizer.size}")
    return np.bincount(tokens, minlength=tokenizer.size)


def check_total(data_dir: str, split: str, counted: int, recorded: int, unit: str) -> None:
    """Raises DataError where the shards of a split hold another number of units than dataset.json tells."""
    if counted != recorded:
        raise DataError(
            f"{data_dir}: the shards of {split} hold {counted} {unit}, dataset.json tells {recorded}; prepare the "
            "dataset again"
        )


def files(manifest: Manifest, split: str) -> dict[str, int]:
    """Records, shards and bytes of a split."""
    stored = manifest.splits[split]
    return {"records": stored.records, "shards": len(stored.shards), "bytes": stored.bytes}


def distribution(lengths: np.ndarray) -> dict[str, float]:
    """Smallest, middle, mean, 95th percentile and largest."""
    if not len(lengths):
        return {}
    middle, high = np.percentile(lengths, [50, 95])
    values = {"min": lengths.min(), "median": middle, "mean": lengths.mean(), "p95": high, "max": lengths.max()}
    return {name: round(float(value), 3) for name, value in values.items()}


def vocabulary(tokenizer: Tokenizer, counts: np.ndarray) -> dict[str, Any]:
    """The vocabulary and how the training split uses it."""
    usage = Counter({index: int(count) for index, count in enumerate(counts) if count})
    frequent = [index for index, _ in usage.most_common(FREQUENT)]
    ordinary = counts[len(SPECIAL) :]
    return {
        "tokenizer": tokenizer.kind,
        "size": tokenizer.size,
        "sha256": tokenizer.sha256,
        "unused": int((ordinary == 0).sum()),
        "frequent": [{"token": _token_text(tokenizer, index), "count": usage[index]} for index in frequent],
    }


def _token_text(tokenizer: Tokenizer, index: int) -> str:
    return SPECIAL[UNKNOWN] if index == UNKNOWN else tokenizer.decode([index])

"""Pair records -> the pairs of a split in memory, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.dataset.record_files import read_checked, record_shards
from trainer.dataset.schema import Feature, Manifest
from trainer.dataset.shard_files import check_files
from trainer.errors import DataError
from trainer.tasks.seq2seq.facts import PairFacts
from trainer.text import tokenizers
from trainer.text.tokenizer import Tokenizer, read_ids

PARSED_RECORDS = 4096  # parsed at once


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no `==`
class PairStore:
    """The P pairs of a split, in their order.

    Attributes:
        source: `[N]` ids of all source texts one after the other, in the smallest type that holds them, without start
          and end.
        source_lengths: `[P]` int64, ids of each source text.
        target: as `source`, of the target texts.
        target_lengths: `[P]` int64.
        source_text: the P source texts as they were read.
        target_text: the P target texts, the references of scores.
    """

    source: np.ndarray
    source_lengths: np.ndarray
    target: np.ndarray
    target_lengths: np.ndarray
    source_text: list[str]
    target_text: list[str]


def load_tokenizers(data_dir: str, manifest: Manifest) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of source and target (one object where they share a vocabulary).

    Raises:
      DataError: a vocabulary is missing, damaged or another one than the dataset was made with.
    """
    facts = PairFacts.of(manifest)
    source = tokenizers.load(facts.tokenizer, data_dir, facts.source.sha256, facts.source.file)
    if facts.target == facts.source:
        return source, source
    return source, tokenizers.load(facts.tokenizer, data_dir, facts.target.sha256, facts.target.file)


def load(data_dir: str, manifest: Manifest, split: str) -> PairStore:
    """The pairs of a split.

    Raises:
      DataError: the dataset has no such split, or a shard is missing, truncated or damaged.
    """
    facts = PairFacts.of(manifest)
    if split not in manifest.splits:
        has = ", ".join(manifest.splits)
        raise DataError(
            f"{data_dir} has no {split} split, it has {has}; prepare it with --{split}_input, or --splits that give one"
        )
    paths = check_files(data_dir, manifest, (split,))
    records = _read(paths)
    # Shards are read side by side, so records come in no order of the pairs.
    order = np.argsort(records["pair"], kind="stable")
    expected = facts.splits[split]
    features = {feature.name: feature for feature in manifest.features}
    source, source_lengths = _joined(records["source"][order], features["source"])
    target, target_lengths = _joined(records["target"][order], features["target"])
    read = (len(order), len(source), len(target))
    complete = len(order) == expected.pairs and bool(np.all(np.diff(records["pair"][order]) > 0))
    if not complete or read != (expected.pairs, expected.source_tokens, expected.target_tokens):
        raise DataError(
            f"{paths[0]} and its siblings hold {read[0]} pairs of {read[1]} and {read[2]} tokens, not the"
            f" {expected.pairs} of {expected.source_tokens} and {expected.target_tokens} that were written; prepare "
            "the dataset again"
        )
    source_text, target_text = (
        [text.decode() for text in records[f"{side}_text"][order]] for side in ("source", "target")
    )
    return PairStore(source, source_lengths, target, target_lengths, source_text, target_text)


def _read(paths: list[str]) -> dict[str, np.ndarray]:
    """The records of all shards: feature -> [P] int64, or objects of bytes."""
    batches = list(read_checked(_parsed(paths), paths))
    return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}


def _parsed(paths: list[str]) -> tf.data.Dataset:
    schema: dict[str, Any] = {
        name: tf.io.FixedLenFeature([], tf.string) for name in ("source", "target", "source_text", "target_text")
    }
    schema["pair"] = tf.io.FixedLenFeature([], tf.int64)
    return record_shards(paths).batch(PARSED_RECORDS).map(lambda records: tf.io.parse_example(records, schema))


def _joined(texts: np.ndarray, feature: Feature) -> tuple[np.ndarray, np.ndarray]:
    """The ids of all texts one after the other, [N], and how many each has, [P] int64."""
    dtype = np.dtype(feature.dtype)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) // dtype.itemsize
    stored = np.frombuffer(b"".join(texts), dtype.newbyteorder("<")).astype(dtype)
    return read_ids(stored, feature.lowest), lengths

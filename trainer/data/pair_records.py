"""Pairs of texts -> a dataset directory, one record a pair.

A record holds
  pair                      int64 scalar   number of the pair within the split, from 0
  source, target            [n] uint8, uint16 or int32 ids, the smallest type that holds every id, without start and end
  source_text, target_text  the texts as they were read
The ids are little-endian bytes, which TFDS reads as `Tensor(..., encoding='bytes')`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import trainer
from trainer.data import manifest
from trainer.data.manifest import Feature, Manifest, Shard
from trainer.data.pair_facts import PairCounts, PairFacts, VocabularyFacts
from trainer.data.shards import dataset_name, write_records, write_splits
from trainer.data.tfrecord import FeatureValue
from trainer.data.token_records import EncodedSplit, token_dtype
from trainer.data.tokenizer import UNKNOWN, Tokenizer


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no `==`
class EncodedPairs:
    """The pairs of a split: text `i` of each side and its ids, one "document" a text; `dropped` counts what rules left out."""

    source_text: list[str]
    target_text: list[str]
    source: EncodedSplit
    target: EncodedSplit
    dropped: dict[str, int]


@dataclass(frozen=True, eq=False)
class _Content:
    """One shard: the pairs `[first, end)` of a split."""

    pairs: EncodedPairs
    first: int
    end: int


def write_dataset(
    encoded: Mapping[str, EncodedPairs], source: Tokenizer, target: Tokenizer, joint: bool, task: str, output_dir: str, num_shards: int
) -> Manifest:
    """Writes encoded pairs and their vocabularies as a new dataset directory, which appears whole or not at all.

    Args:
      encoded: split -> its pairs, at least one.
      source: what encoded the source texts.
      target: what encoded the target texts; of the same kind, and the same where `joint`.
      joint: whether both sides share one vocabulary.
      task: what the dataset is for.
      output_dir: directory to make; its base name in snake case names the dataset.
      num_shards: shards a split; fewer where a split has fewer pairs.

    Raises:
      ConfigError: `output_dir` exists and is not empty.
      StorageError: the file system refused; nothing is left behind.
    """
    files = (source.file, source.file) if joint else (_own_file(source, "source"), _own_file(target, "target"))
    sides = [VocabularyFacts(file, side.size, side.sha256) for file, side in zip(files, (source, target))]
    facts = PairFacts(source.kind, joint, sides[0], sides[1], {name: _counts(pairs) for name, pairs in encoded.items()})
    name = dataset_name(output_dir)
    plans = {split: _shard_plan(pairs, num_shards) for split, pairs in encoded.items()}
    with manifest.new_directory(output_dir) as directory:
        source.save(directory, files[0])
        target.save(directory, files[1])
        splits = write_splits(directory, name, plans, _write_shard)
        features = _features(source.size, target.size)
        result = Manifest(name, task, features, splits, pairs=facts, created_by=f"trainer {trainer.__version__}")
        manifest.write(result, directory)
    return result


def _own_file(tokenizer: Tokenizer, side: str) -> str | None:
    return None if tokenizer.file is None else f"{side}_{tokenizer.file}"


def _counts(pairs: EncodedPairs) -> PairCounts:
    sides = (pairs.source.tokens, pairs.target.tokens)
    tokens, unknown = [len(ids) for ids in sides], [int(np.count_nonzero(ids == UNKNOWN)) for ids in sides]
    return PairCounts(len(pairs.source_text), tokens[0], tokens[1], unknown[0], unknown[1], dict(pairs.dropped))


def _features(source_size: int, target_size: int) -> tuple[Feature, ...]:
    return (
        Feature("pair", (), "int64", "index"),
        Feature("source", (None,), token_dtype(source_size), "id"),
        Feature("target", (None,), token_dtype(target_size), "id"),
        Feature("source_text", (), "string", "text"),
        Feature("target_text", (), "string", "text"),
    )


def _shard_plan(pairs: EncodedPairs, num_shards: int) -> list[_Content]:
    total = len(pairs.source_text)
    shards = min(num_shards, total)
    return [_Content(pairs, total * shard // shards, total * (shard + 1) // shards) for shard in range(shards)]


def _write_shard(job: tuple[Path, _Content]) -> Shard:
    path, content = job
    return write_records(path, _records(content))


def _records(content: _Content) -> Iterator[dict[str, FeatureValue]]:
    pairs = content.pairs
    sides = (_texts_ids(pairs.source, content), _texts_ids(pairs.target, content))
    for number, source, target in zip(range(content.first, content.end), *sides):
        yield {
            "pair": number,
            "source": source,
            "target": target,
            "source_text": pairs.source_text[number].encode(),
            "target_text": pairs.target_text[number].encode(),
        }


def _texts_ids(side: EncodedSplit, content: _Content) -> Iterator[bytes]:
    """The ids of each text of the shard, as little-endian bytes."""
    ends = np.cumsum(side.lengths)
    ids = side.tokens.astype(side.tokens.dtype.newbyteorder("<"))
    for number in range(content.first, content.end):
        yield ids[ends[number] - side.lengths[number] : ends[number]].tobytes()

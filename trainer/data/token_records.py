"""Documents -> a dataset directory of token ids.

The documents of a split, one after the other, are one run of tokens. A record is a piece of that run, so it may begin within a document
and hold many short ones:
  document  int64 scalar   number of the document, within the split, that the first token is of
  start     int64 scalar   how many tokens of that document lie before
  lengths   int64 [n]      tokens of each document in the record: of the first from `start` on, of the last up to the record's end
  tokens    [sum of lengths] uint8, uint16 or int32, the smallest that holds every id
The arrays are little-endian bytes, which TFDS reads as `Tensor(..., encoding='bytes')`. Records hold what the tokenizer gave: marks
between documents are added by the reader.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import trainer
from trainer.data import manifest
from trainer.data.manifest import Feature, Manifest, Shard, TextCounts, TextFacts
from trainer.data.parallel import run_jobs
from trainer.data.shards import dataset_name, write_records, write_splits
from trainer.data.tfrecord import FeatureValue
from trainer.data.tokenizer import UNKNOWN, Tokenizer

RECORD_TOKENS = 1 << 16
JOB_CHARACTERS = 1 << 20  # encoded at once
POOL_CHARACTERS = 8 << 20  # encoding fewer takes no longer than starting a pool


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no `==`
class EncodedSplit:
    """`tokens: [N]` of all documents of a split, `lengths: [D]` int64 tokens of each, and the characters they came from."""

    tokens: np.ndarray
    lengths: np.ndarray
    characters: int


@dataclass(frozen=True, eq=False)
class _Content:
    """One shard: the tokens `[first, end)` of a split."""

    split: EncodedSplit
    first: int
    end: int


def token_dtype(vocabulary_size: int) -> str:
    """The smallest type that holds every id."""
    return "uint8" if vocabulary_size <= 1 << 8 else "uint16" if vocabulary_size <= 1 << 16 else "int32"


def encode_documents(tokenizer: Tokenizer, documents: Sequence[str], processes: int = 1) -> EncodedSplit:
    """Encodes documents, in several processes where that is faster; the result is the same."""
    characters = sum(map(len, documents))
    owners, pieces = _pieces(tokenizer, documents)
    jobs = _batches(pieces)
    pays = tokenizer.pays_processes and characters > POOL_CHARACTERS
    tokens, lengths = [np.zeros(0, token_dtype(tokenizer.size))], [np.zeros(0, np.int64)]
    with tqdm(total=characters, unit=" characters", unit_scale=True, desc="encode", disable=not sys.stderr.isatty()) as bar:
        encoded = run_jobs(functools.partial(_encode, tokenizer), jobs, processes if pays else 1)
        for job, (ids, counts) in zip(jobs, encoded):
            tokens.append(ids)
            lengths.append(counts)
            bar.update(sum(map(len, job)))
    per_document = np.bincount(owners, np.concatenate(lengths), len(documents)).astype(np.int64)
    return EncodedSplit(np.concatenate(tokens), per_document, characters)


def write_dataset(
    encoded: Mapping[str, EncodedSplit], tokenizer: Tokenizer, documents: str, task: str, output_dir: str, num_shards: int
) -> Manifest:
    """Writes encoded splits and their vocabulary as a new dataset directory, which appears whole or not at all.

    Args:
      encoded: split -> its documents, none of them empty.
      tokenizer: what encoded them.
      documents: `stream` or `lines`, as the manifest tells readers.
      task: what the dataset is for.
      output_dir: directory to make; its base name in snake case names the dataset.
      num_shards: shards a split; fewer where a split has fewer tokens.

    Raises:
      ConfigError: `output_dir` exists and is not empty.
      StorageError: the file system refused; nothing is left behind.
    """
    counts = {
        name: TextCounts(len(split.tokens), split.characters, len(split.lengths), int(np.count_nonzero(split.tokens == UNKNOWN)))
        for name, split in encoded.items()
    }
    facts = TextFacts(tokenizer.kind, tokenizer.file, tokenizer.size, tokenizer.sha256, documents, counts)
    name = dataset_name(output_dir)
    plans = {split: _shard_plan(content, num_shards) for split, content in encoded.items()}
    with manifest.new_directory(output_dir) as directory:
        tokenizer.save(directory)
        splits = write_splits(directory, name, plans, _write_shard)
        result = Manifest(name, task, _features(tokenizer.size), splits, text=facts, created_by=f"trainer {trainer.__version__}")
        manifest.write(result, directory)
    return result


def _pieces(tokenizer: Tokenizer, documents: Sequence[str]) -> tuple[list[int], list[str]]:
    """The documents, long ones cut where they still encode the same, and the document each piece is of."""
    owners, pieces = [], []
    for index, document in enumerate(documents):
        first = 0
        while first < len(document):
            end = first + JOB_CHARACTERS
            if not tokenizer.cuts_anywhere:
                end = document.find("\n", end) + 1 or len(document)
            pieces.append(document[first:end])
            owners.append(index)
            first = end
    return owners, pieces


def _batches(pieces: Sequence[str]) -> list[list[str]]:
    """Neighbouring pieces together, up to JOB_CHARACTERS or one long piece."""
    batches: list[list[str]] = []
    room = 0
    for piece in pieces:
        if not batches or len(piece) > room:
            batches.append([])
            room = JOB_CHARACTERS
        batches[-1].append(piece)
        room -= len(piece)
    return batches


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    ids, lengths = tokenizer.encode_all(texts)
    return ids.astype(token_dtype(tokenizer.size)), lengths


def _features(vocabulary_size: int) -> tuple[Feature, ...]:
    return (
        Feature("document", (), "int64", "index"),
        Feature("start", (), "int64", "token"),
        Feature("lengths", (None,), "int64", "tokens"),
        Feature("tokens", (None,), token_dtype(vocabulary_size), "id"),
    )


def _shard_plan(split: EncodedSplit, num_shards: int) -> list[_Content]:
    total = len(split.tokens)
    shards = max(1, min(num_shards, total))
    return [_Content(split, total * shard // shards, total * (shard + 1) // shards) for shard in range(shards)]


def _write_shard(job: tuple[Path, _Content]) -> Shard:
    path, content = job
    return write_records(path, _records(content))


def _records(content: _Content) -> Iterator[dict[str, FeatureValue]]:
    tokens = content.split.tokens
    ends = np.cumsum(content.split.lengths)
    for first in range(content.first, content.end, RECORD_TOKENS):
        last = min(first + RECORD_TOKENS, content.end)
        document, stop = (int(index) for index in np.searchsorted(ends, [first, last - 1], side="right"))
        borders = np.concatenate([[first], ends[document:stop], [last]])
        yield {
            "document": document,
            "start": first - int(ends[document - 1] if document else 0),
            "lengths": np.diff(borders).astype("<i8").tobytes(),
            "tokens": tokens[first:last].astype(tokens.dtype.newbyteorder("<")).tobytes(),
        }

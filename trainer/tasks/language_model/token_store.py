"""Token records -> the tokens of a split in memory, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.dataset.record_files import read_checked, record_shards
from trainer.dataset.schema import Manifest
from trainer.dataset.shard_files import check_files
from trainer.dataset.special_tokens import END
from trainer.errors import DataError
from trainer.tasks.language_model.facts import TextFacts
from trainer.text import tokenizers
from trainer.text.tokenizer import Tokenizer, read_ids


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no `==`
class TokenStore:
    """`tokens: [N]` of all documents of a split, in the smallest type that holds all ids; `lengths: [D]` int64 tokens
    of each document.
    """

    tokens: np.ndarray
    lengths: np.ndarray

    def stream(self) -> np.ndarray:
        """The documents as one stream, [N] or [N + D]: an end token after each, but a single document stays as it is.

        (It is a stretch of a text that goes on, as a rule, so there is no end to learn.)
        """
        if len(self.lengths) == 1:
            return self.tokens
        return np.insert(self.tokens, np.cumsum(self.lengths), END)


def load_tokenizer(data_dir: str, manifest: Manifest) -> Tokenizer:
    """The tokenizer that the dataset was made with; DataError where its vocabulary is missing, damaged or another
    one.
    """
    facts = TextFacts.of(manifest)
    return tokenizers.load(facts.tokenizer, data_dir, facts.vocabulary_sha256)


def load(data_dir: str, manifest: Manifest, split: str) -> TokenStore:
    """The tokens of a split.

    Raises:
      DataError: the dataset has no such split, or a shard is missing, truncated or damaged.
    """
    facts = TextFacts.of(manifest)
    if split not in manifest.splits:
        raise DataError(
            f"{data_dir} has no {split} split, it has {', '.join(manifest.splits)}; prepare it with --splits that "
            "give one"
        )
    feature = next(feature for feature in manifest.features if feature.name == "tokens")
    paths = check_files(data_dir, manifest, (split,))
    # Shards are read side by side, so records come in no order of the text.
    records = sorted(
        (
            (int(r["document"]), int(r["start"]), r["tokens"].numpy(), r["lengths"].numpy())
            for r in read_checked(_parsed(paths, np.dtype(feature.dtype)), paths)
        ),
        key=lambda record: record[:2],
    )
    lengths = np.zeros(facts.splits[split].documents, np.int64)
    before = (-1, 0)
    for document, start, _, parts in records:
        if (document, start) <= before or document + len(parts) > len(lengths):
            raise DataError(
                f"{paths[0]} and its siblings hold document {document} twice, or not all others; prepare the dataset "
                "again"
            )
        lengths[document : document + len(parts)] += parts
        before = (document, start)
    tokens = read_ids(np.concatenate([record[2] for record in records]), feature.lowest)
    if len(tokens) != facts.splits[split].tokens or lengths.sum() != len(tokens):
        raise DataError(
            f"{paths[0]} and its siblings hold {len(tokens)} tokens, dataset.json tells another number; prepare the "
            "dataset again"
        )
    return TokenStore(tokens, lengths)


def _parsed(paths: list[str], dtype: np.dtype) -> tf.data.Dataset:
    schema = {
        "document": tf.io.FixedLenFeature([], tf.int64),
        "start": tf.io.FixedLenFeature([], tf.int64),
        "lengths": tf.io.FixedLenFeature([], tf.string),
        "tokens": tf.io.FixedLenFeature([], tf.string),
    }

    def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_single_example(record, schema)
        parsed["lengths"] = tf.io.decode_raw(parsed["lengths"], tf.int64)
        parsed["tokens"] = tf.io.decode_raw(parsed["tokens"], tf.as_dtype(dtype))
        return parsed

    return record_shards(paths).map(parse, num_parallel_calls=tf.data.AUTOTUNE)

"""Pairs of texts -> the shards of a dataset, one record a pair.

A record holds
  pair                      int64 scalar   number of the pair within the split, from 0; those that rules leave out are
    counted too
  source, target            [n] ids without start and end, stored as `token_records` stores them
  source_text, target_text  the texts as they were read
The ids are little-endian bytes, which TFDS reads as `Tensor(..., encoding='bytes')`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from trainer.dataset.schema import Feature
from trainer.dataset.special_tokens import UNKNOWN
from trainer.dataset.tfrecord import FeatureValue
from trainer.tasks.seq2seq.source import PairStretch, is_whole
from trainer.text.tokenizer import Tokenizer

PAIRS_AT_ONCE = 4096  # encoded; whole texts are short


@dataclass(frozen=True)
class Rules:
    """Rules of what is left out: pairs with a blank side, and pairs with more tokens than these."""

    drop_empty: bool = False
    max_source_tokens: int | None = None
    max_target_tokens: int | None = None
    drop_long: bool = False  # long ones are only counted otherwise


@dataclass(frozen=True)
class PairShard:
    """The pairs of a stretch, as rules leave them."""

    source: Tokenizer
    target: Tokenizer
    stretch: PairStretch
    rules: Rules

    def records(self, counts: Counter[str]) -> Iterator[dict[str, FeatureValue]]:
        """Yields the records.

        Counts what they hold (`pairs`, and `tokens` and `unknown` of each side), and of all pairs those with a blank
        side (`empty`) or too many tokens (`over_long`) and the longest of each side, in tokens.
        """
        numbered = enumerate(self.stretch.pairs(), self.stretch.first - self.stretch.begin)
        while batch := list(islice(numbered, PAIRS_AT_ONCE)):
            empty = [not is_whole(pair) for _, pair in batch]
            counts["empty"] += sum(empty)
            if self.rules.drop_empty:
                batch = [entry for entry, blank in zip(batch, empty) if not blank]
            if batch:
                yield from self._encoded(batch, counts)

    def _encoded(
        self, batch: list[tuple[int, tuple[str, str]]], counts: Counter[str]
    ) -> Iterator[dict[str, FeatureValue]]:
        sides = [
            _ids(tokenizer, [pair[side] for _, pair in batch])
            for side, tokenizer in enumerate((self.source, self.target))
        ]
        limits = self.rules.max_source_tokens, self.rules.max_target_tokens
        for (number, texts), *ids in zip(batch, *sides):
            long = any(limit is not None and len(tokens) > limit for tokens, limit in zip(ids, limits))
            counts["over_long"] += long
            for name, tokens in zip(("source", "target"), ids):
                counts[f"longest_{name}"] = max(counts[f"longest_{name}"], len(tokens))
                if not (long and self.rules.drop_long):
                    counts[f"{name}_tokens"] += len(tokens)
                    counts[f"{name}_unknown"] += int(np.count_nonzero(tokens == UNKNOWN))
            if long and self.rules.drop_long:
                continue
            counts["pairs"] += 1
            yield {
                "pair": number,
                "source": self.source.store(ids[0]),
                "target": self.target.store(ids[1]),
                "source_text": texts[0].encode(),
                "target_text": texts[1].encode(),
            }


def pair_shards(
    source: Tokenizer, target: Tokenizer, stretch: PairStretch, rules: Rules, num_shards: int
) -> list[PairShard]:
    """The shards of a split, of equal numbers of pairs; fewer than `num_shards` of few pairs."""
    pairs = stretch.end - stretch.first
    shards = min(num_shards, pairs)
    borders = [stretch.first + pairs * shard // shards for shard in range(shards + 1)]
    return [PairShard(source, target, stretch.part(first, end), rules) for first, end in pairwise(borders)]


def pair_features(source: Tokenizer, target: Tokenizer) -> tuple[Feature, ...]:
    return (
        Feature("pair", (), "int64", "index"),
        Feature("source", (None,), source.stored_dtype, "id", source.lowest),
        Feature("target", (None,), target.stored_dtype, "id", target.lowest),
        Feature("source_text", (), "string", "text"),
        Feature("target_text", (), "string", "text"),
    )


def _ids(tokenizer: Tokenizer, texts: list[str]) -> list[np.ndarray]:
    """The ids of each text."""
    ids, lengths = tokenizer.encode_all(texts)
    return np.split(ids, np.cumsum(lengths)[:-1])

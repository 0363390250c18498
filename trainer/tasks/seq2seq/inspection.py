"""The contents of a dataset of pairs, from its records."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.dataset.schema import Manifest
from trainer.tasks import inspection
from trainer.tasks.seq2seq.facts import PairCounts, PairFacts
from trainer.text import tokenizers


def inspect(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    """Reads every record of a dataset.

    Args:
      data_dir: the dataset's directory.
      manifest: what its dataset.json tells.
      examples: decoded examples of each split: pairs.

    Returns:
      `splits`: split -> sizes and lengths; `examples`: split -> the first ones; `vocabulary`: sizes and use of both.

    Raises:
      DataError: a shard or vocabulary is missing or damaged, or holds something else than dataset.json tells.
    """
    facts = PairFacts.of(manifest)
    sides = {"source": facts.source, "target": facts.target}
    tokenizers_of = {
        side: tokenizers.load(facts.tokenizer, data_dir, one.sha256, one.file) for side, one in sides.items()
    }
    counts = {side: np.zeros(tokenizer.size, np.int64) for side, tokenizer in tokenizers_of.items()}
    splits, shown = {}, {}
    for split in manifest.splits:
        lengths: dict[str, list[int]] = {side: [] for side in sides}
        first: list[dict[str, str]] = []
        last = [-1]  # number of the pair before

        def read(
            record: inspection.Record,
            lengths: dict[str, list[int]] = lengths,
            first: list[dict[str, str]] = first,
            split: str = split,
            last: list[Any] = last,
        ) -> None:
            ids, before = {side: inspection.array(record, side, manifest) for side in sides}, last.pop()
            last.append(record["pair"][0])
            if last[0] <= before:
                raise ValueError(f"it is pair {last[0]} after pair {before}")
            for side in sides:
                lengths[side].append(len(ids[side]))
                used = inspection.token_counts(ids[side], tokenizers_of[side])
                if split == "train":
                    counts[side] += used
            if len(first) < examples:
                first.append({side: tokenizers_of[side].decode(ids[side]) for side in sides})

        inspection.read_split(data_dir, manifest, split, read)
        inspection.check_total(data_dir, split, len(lengths["source"]), facts.splits[split].pairs, "pairs")
        splits[split] = {
            **inspection.files(manifest, split),
            **_sizes(facts.splits[split]),
            "tokens_a_text": {side: inspection.distribution(np.array(lengths[side])) for side in sides},
        }
        shown[split] = first
    vocabularies = {side: inspection.vocabulary(tokenizers_of[side], counts[side]) for side in sides}
    return {"splits": splits, "vocabulary": {"joint": facts.joint, **vocabularies}, "examples": shown}


def _sizes(counts: PairCounts) -> dict[str, Any]:
    return {
        "pairs": counts.pairs,
        "tokens": {"source": counts.source_tokens, "target": counts.target_tokens},
        "unknown_rate": {
            "source": counts.source_unknown / max(counts.source_tokens, 1),
            "target": counts.target_unknown / max(counts.target_tokens, 1),
        },
        "dropped": counts.dropped,
    }

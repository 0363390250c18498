"""The contents of a dataset of texts, from its records."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.dataset.schema import Manifest
from trainer.tasks import inspection
from trainer.tasks.language_model.facts import TextFacts
from trainer.text import tokenizers

EXAMPLE_TOKENS = 40  # of a document


def inspect(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    """Reads every record of a dataset.

    Args:
      data_dir: the dataset's directory.
      manifest: what its dataset.json tells.
      examples: decoded examples of each split: beginnings of documents.

    Returns:
      `splits`: split -> sizes and lengths; `examples`: split -> the first ones; `vocabulary`: its size and use.

    Raises:
      DataError: a shard or vocabulary is missing or damaged, or holds something else than dataset.json tells.
    """
    facts = TextFacts.of(manifest)
    tokenizer = tokenizers.load(facts.tokenizer, data_dir, facts.vocabulary_sha256)
    counts = np.zeros(tokenizer.size, np.int64)
    splits, shown = {}, {}
    for split in manifest.splits:
        lengths = np.zeros(facts.splits[split].documents, np.int64)
        beginnings: dict[int, list[int]] = {}
        last = [(-1, 0)]  # document and start of the record before

        def read(
            record: inspection.Record,
            lengths: np.ndarray = lengths,
            beginnings: dict[int, list[int]] = beginnings,
            split: str = split,
            last: list[Any] = last,
        ) -> None:
            tokens, parts = inspection.array(record, "tokens", manifest), inspection.array(record, "lengths", manifest)
            document, before = record["document"][0], last.pop()
            last.append((document, record["start"][0]))
            if document + len(parts) > len(lengths) or parts.sum() != len(tokens) or last[0] <= before:
                raise ValueError(f"its tokens are not those that document {document} goes on with")
            lengths[document : document + len(parts)] += parts
            for number, part in zip(
                range(document, min(document + len(parts), examples)), np.split(tokens, np.cumsum(parts)[:-1])
            ):
                beginning = beginnings.setdefault(number, [])
                beginning += part[: EXAMPLE_TOKENS - len(beginning)].tolist()
            used = inspection.token_counts(tokens, tokenizer)
            if split == "train":
                counts[:] += used

        inspection.read_split(data_dir, manifest, split, read)
        inspection.check_total(data_dir, split, int(lengths.sum()), facts.splits[split].tokens, "tokens")
        counted = facts.splits[split]
        splits[split] = {
            **inspection.files(manifest, split),
            "documents": counted.documents,
            "tokens": counted.tokens,
            "characters": counted.characters,
            "unknown_rate": counted.unknown / max(counted.tokens, 1),
            "tokens_a_document": inspection.distribution(lengths),
        }
        shown[split] = [{"text": tokenizer.decode(beginnings[number])} for number in sorted(beginnings)]
    return {"splits": splits, "vocabulary": inspection.vocabulary(tokenizer, counts), "examples": shown}

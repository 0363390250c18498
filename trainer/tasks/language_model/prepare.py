"""`prepare --task=language_model`: text files, TensorFlow Datasets or the sample -> the plan of a dataset of tokens."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trainer.config.prepare import PrepareConfig
from trainer.dataset.handoff import Handover
from trainer.dataset.input_files import find_split_files
from trainer.dataset.preparation import DatasetPlan
from trainer.dataset.schema import Manifest, Split
from trainer.tasks import tfds_source
from trainer.tasks.language_model.facts import TextCounts, TextFacts
from trainer.tasks.language_model.flags import DocumentFlags
from trainer.tasks.language_model.sample_text import sample_text
from trainer.tasks.language_model.token_records import token_features, token_shards
from trainer.text import vocabulary
from trainer.text.flags import TokenizerFlags
from trainer.text.text_pieces import Memory, Source, open_text, split_text
from trainer.text.text_source import Stretch, index_sources, split_texts
from trainer.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


def find_sources(config: PrepareConfig) -> dict[str, list[Source]]:
    """The texts of each split; those of train are to be split. Raises DataError or ConfigError as `open_text` and
    `open_source`.
    """
    if config.source == "tfds":
        return tfds_source.pieces(config)
    kind = "stream" if config.of(DocumentFlags).documents == "stream" else "documents"
    if config.source == "sample":
        return {"train": [Memory("the sample", split_text(sample_text(), kind)[0])]}
    return {split: [open_text(path, kind) for path in paths] for split, paths in find_split_files(config).items()}


def plan(sources_of: Mapping[str, Sequence[Source]], config: PrepareConfig, parts: Handover) -> DatasetPlan:
    """The dataset of texts. Counts them and makes the vocabulary.

    Raises:
      DataError, ConfigError: as `Source.read`, `split_texts` and `vocabulary.build`.
    """
    indexed = iter(index_sources([source for sources in sources_of.values() for source in sources], parts))
    documents = "lines" if config.source == "tfds" else config.of(DocumentFlags).documents
    stretches = split_texts(
        {split: [next(indexed) for _ in sources] for split, sources in sources_of.items()}, documents, config.splits
    )
    flags = config.of(TokenizerFlags)
    tokenizer = vocabulary.build(
        parts, "vocabulary", flags.tokenizer, stretches["train"], flags.vocab_size, **flags.options
    )
    shards = {split: token_shards(tokenizer, placed, config.num_shards) for split, placed in stretches.items()}
    numbers = {split: placed[-1].document + _documents(placed[-1]) for split, placed in stretches.items()}
    return DatasetPlan(shards, partial(_describe, config.task, documents, tokenizer, numbers), tokenizer.save)


def _documents(stretch: Stretch) -> int:
    return 1 if stretch.source.source.is_stream else stretch.end - stretch.first


def _describe(
    task: str,
    kind: str,
    tokenizer: Tokenizer,
    documents: dict[str, int],
    name: str,
    splits: dict[str, Split],
    counted: dict[str, Counter[str]],
) -> tuple[Manifest, dict[str, Any]]:
    """The manifest and, split by split, tokens, characters, documents and the rate of unknown tokens."""
    counts = {
        split: TextCounts(counter["tokens"], counter["characters"], documents[split], counter["unknown"])
        for split, counter in counted.items()
    }
    facts = TextFacts(tokenizer.kind, tokenizer.file, tokenizer.size, tokenizer.sha256, kind, counts)
    rates = {split: count.unknown / max(count.tokens, 1) for split, count in counts.items()}
    for split, rate in rates.items():
        if rate > 0:
            _log.info(
                "%s: %d of %d tokens are unknown (%.3g %%)",
                split,
                counts[split].unknown,
                counts[split].tokens,
                100 * rate,
            )
    return Manifest(name, task, token_features(tokenizer), splits, facts), {
        "tokens": {split: count.tokens for split, count in counts.items()},
        "characters": {split: count.characters for split, count in counts.items()},
        "documents": {split: count.documents for split, count in counts.items()},
        "unknown_rate": rates,
        "vocabulary_size": tokenizer.size,
    }

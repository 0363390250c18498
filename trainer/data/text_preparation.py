"""`prepare --task=language_model`: text files, TensorFlow Datasets or the sample -> a dataset of tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.data import tfds_source, tokenizers
from trainer.data.input_files import find_split_files
from trainer.data.manifest import Manifest
from trainer.data.sample_text import sample_text
from trainer.data.text_source import SourceDocuments, SourceText, read_text, split_documents
from trainer.data.token_records import encode_documents, write_dataset
from trainer.prepare_config import PrepareConfig

_log = logging.getLogger(__name__)


def prepare_text(config: PrepareConfig, processes: int) -> tuple[Manifest, dict[str, Any]]:
    """Writes the dataset; gives its manifest and, split by split, tokens, characters, documents and the rate of unknown tokens.

    Raises:
      DataError, ConfigError, StorageError: as `read_text`, `split_documents`, `tokenizers.build` and `write_dataset`.
    """
    documents = split_documents(_given(config), config.documents, config.splits)
    options = {"model_type": config.sentencepiece_type} if config.tokenizer == "sentencepiece" else {}
    tokenizer = tokenizers.build(config.tokenizer, documents["train"], config.vocab_size, **options)
    encoded = {split: encode_documents(tokenizer, own, processes) for split, own in documents.items()}
    kind = "lines" if config.source == "tfds" else config.documents
    written = write_dataset(encoded, tokenizer, kind, config.task, config.output_dir, config.num_shards)
    assert written.text is not None
    counts = written.text.splits
    rates = {name: count.unknown / count.tokens for name, count in counts.items()}
    for name, rate in rates.items():
        if rate > 0:
            _log.info("%s: %d of %d tokens are unknown (%.3g %%)", name, counts[name].unknown, counts[name].tokens, 100 * rate)
    return written, {
        "tokens": {name: count.tokens for name, count in counts.items()},
        "characters": {name: count.characters for name, count in counts.items()},
        "documents": {name: count.documents for name, count in counts.items()},
        "unknown_rate": rates,
        "vocabulary_size": tokenizer.size,
    }


def _given(config: PrepareConfig) -> Mapping[str, Sequence[SourceText | SourceDocuments]]:
    if config.source == "sample":
        return {"train": [sample_text()]}
    if config.source == "tfds":
        return tfds_source.read_documents(tfds_source.open_source(config))
    return {split: [read_text(path) for path in paths] for split, paths in find_split_files(config).items()}

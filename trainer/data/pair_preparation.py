"""`prepare --task=seq2seq`: line-aligned texts, TensorFlow Datasets or the sample -> a dataset of pairs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.data import tfds_source, tokenizers
from trainer.data.input_files import find_split_files
from trainer.data.manifest import Manifest
from trainer.data.pair_records import EncodedPairs, write_dataset
from trainer.data.pair_source import TextPairs, read_pairs, split_pairs
from trainer.data.sample_dates import sample_dates
from trainer.data.token_records import EncodedSplit, encode_documents
from trainer.data.tokenizer import Tokenizer
from trainer.errors import DataError
from trainer.prepare_config import PrepareConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Findings:
    """What a split holds that may be wrong, counted whether or not a rule leaves it out."""

    empty: int  # pairs with a blank side
    over_long: int  # pairs above --max_source_tokens or --max_target_tokens
    longest_source: int  # tokens
    longest_target: int


def prepare_pairs(config: PrepareConfig, processes: int) -> tuple[Manifest, dict[str, Any]]:
    """Writes the dataset; gives its manifest and, split by split, tokens, unknown ones, lengths, and what was left out by which rule.

    Raises:
      DataError, ConfigError, StorageError: as `read_pairs`, `split_pairs`, `tokenizers.build` and `write_dataset`; DataError where a rule
        leaves no pair of a split.
    """
    splits = {split: _without_empty(own, config) for split, own in split_pairs(_given(config), config.splits).items()}
    source, target = _build_tokenizers(splits["train"][0], config)
    encoded, findings = {}, {}
    for split, (pairs, empty) in splits.items():
        sides = encode_documents(source, pairs.source, processes), encode_documents(target, pairs.target, processes)
        encoded[split], findings[split] = _encoded(split, pairs, sides, empty, config)
    written = write_dataset(encoded, source, target, config.joint_vocabulary, config.task, config.output_dir, config.num_shards)
    _log_findings(encoded, findings)
    return written, _results(written, findings)


def _given(config: PrepareConfig) -> dict[str, TextPairs]:
    if config.source == "sample":
        return {"train": sample_dates(config.seed)}
    if config.source == "tfds":
        return tfds_source.read_pairs(tfds_source.open_source(config))
    flags = {"train": "input", "validation": "validation_input", "test": "test_input"}
    files = find_split_files(config)
    return {split: read_pairs(paths, flags[split], "surplus" in config.drop_pairs) for split, paths in files.items() if paths}


def _without_empty(pairs: TextPairs, config: PrepareConfig) -> tuple[TextPairs, int]:
    """The pairs, less those with a blank side where that is a rule, and how many have one."""
    whole = [bool(source.strip() and target.strip()) for source, target in zip(pairs.source, pairs.target)]
    empty = len(whole) - sum(whole)
    if not empty or "empty" not in config.drop_pairs:
        return pairs, empty
    source, target = ([text for text, keep in zip(side, whole) if keep] for side in (pairs.source, pairs.target))
    if not source:
        raise DataError(f"{pairs.name}: every pair has a blank side; correct the files")
    return TextPairs(pairs.name, source, target, pairs.surplus), empty


def _build_tokenizers(training: TextPairs, config: PrepareConfig) -> tuple[Tokenizer, Tokenizer]:
    """The vocabularies of source and target, from the training split alone."""
    options = {"model_type": config.sentencepiece_type} if config.tokenizer == "sentencepiece" else {}
    if config.joint_vocabulary:
        joint = tokenizers.build(config.tokenizer, training.source + training.target, config.vocab_size, **options)
        return joint, joint
    source = tokenizers.build(config.tokenizer, training.source, config.vocab_size, **options)
    return source, tokenizers.build(config.tokenizer, training.target, config.vocab_size, **options)


def _encoded(
    split: str, pairs: TextPairs, sides: tuple[EncodedSplit, EncodedSplit], empty: int, config: PrepareConfig
) -> tuple[EncodedPairs, _Findings]:
    """The pairs and what was found in them; of the training split over-long ones are left out (a score counts every pair)."""
    source, target = sides
    limits = [np.iinfo(np.int64).max if limit is None else limit for limit in (config.max_source_tokens, config.max_target_tokens)]
    long = (source.lengths > limits[0]) | (target.lengths > limits[1])
    findings = _Findings(empty, int(long.sum()), int(source.lengths.max()), int(target.lengths.max()))
    dropped = {"empty": empty if "empty" in config.drop_pairs else 0, "surplus": pairs.surplus, "over_long": 0}
    texts = pairs.source, pairs.target
    if split == "train" and long.any():
        if long.all():
            raise DataError(f"{pairs.name}: every training pair is over --max_source_tokens or --max_target_tokens; raise them")
        dropped["over_long"] = findings.over_long
        source, target = _kept(source, ~long), _kept(target, ~long)
        kept = np.flatnonzero(~long).tolist()
        texts = [texts[0][pair] for pair in kept], [texts[1][pair] for pair in kept]
    return EncodedPairs(texts[0], texts[1], source, target, dropped), findings


def _kept(side: EncodedSplit, keep: np.ndarray) -> EncodedSplit:
    return EncodedSplit(side.tokens[np.repeat(keep, side.lengths)], side.lengths[keep], side.characters)


def _log_findings(encoded: dict[str, EncodedPairs], findings: dict[str, _Findings]) -> None:
    for split, pairs in encoded.items():
        found, dropped = findings[split], pairs.dropped
        told = {
            "pairs have a blank side": (found.empty, dropped["empty"]),
            "pairs are over --max_source_tokens or --max_target_tokens": (found.over_long, dropped["over_long"]),
            "lines have no partner": (dropped["surplus"], dropped["surplus"]),
        }
        for what, (count, out) in told.items():
            if count:
                _log.warning("%s: %d %s, %s", split, count, what, "left out" if out else "kept")


def _results(written: Manifest, findings: dict[str, _Findings]) -> dict[str, Any]:
    facts = written.pairs
    assert facts is not None
    counts = facts.splits
    return {
        "tokens": {split: {"source": own.source_tokens, "target": own.target_tokens} for split, own in counts.items()},
        "unknown_rate": {
            split: {
                "source": own.source_unknown / max(own.source_tokens, 1),
                "target": own.target_unknown / max(own.target_tokens, 1),
            }
            for split, own in counts.items()
        },
        "longest": {split: {"source": own.longest_source, "target": own.longest_target} for split, own in findings.items()},
        "empty": {split: own.empty for split, own in findings.items()},
        "over_long": {split: own.over_long for split, own in findings.items()},
        "dropped": {split: own.dropped for split, own in counts.items()},
        "vocabulary_size": {"source": facts.source.size, "target": facts.target.size},
    }

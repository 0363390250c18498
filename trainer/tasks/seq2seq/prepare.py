"""`prepare --task=seq2seq`: line-aligned texts, TensorFlow Datasets or the sample -> the plan of a dataset of pairs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainer.config.prepare import INPUTS, PrepareConfig
from trainer.dataset.handoff import Handover
from trainer.dataset.input_files import find_split_files
from trainer.dataset.preparation import DatasetPlan
from trainer.dataset.schema import Manifest, Split
from trainer.errors import DataError
from trainer.tasks import tfds_source
from trainer.tasks.seq2seq.facts import PairCounts, PairFacts, VocabularyFacts
from trainer.tasks.seq2seq.flags import PairFlags
from trainer.tasks.seq2seq.records import Rules, pair_features, pair_shards
from trainer.tasks.seq2seq.sample_dates import sample_dates
from trainer.tasks.seq2seq.source import PairStretch, PairTexts, align, open_pairs, split_pairs
from trainer.text import vocabulary
from trainer.text.flags import TokenizerFlags
from trainer.text.text_pieces import Memory, Source
from trainer.text.text_source import index_sources
from trainer.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


def find_sources(config: PrepareConfig) -> dict[str, list[Source]]:
    """The sources of each split's pairs; those of train are to be split. Raises DataError or ConfigError as
    `open_pairs`, `open_source`.
    """
    if config.source == "sample":
        return {"train": [Memory("the sample", sample_dates(config.seed))]}
    if config.source == "tfds":
        return tfds_source.pieces(config)
    files = find_split_files(config)
    return {split: open_pairs(paths, INPUTS[split]) for split, paths in files.items() if paths}


def plan(sources_of: Mapping[str, Sequence[Source]], config: PrepareConfig, parts: Handover) -> DatasetPlan:
    """The dataset of pairs. Counts them and makes the vocabularies, from the training split alone.

    Raises:
      DataError, ConfigError: as `Source.read`, `align`, `split_pairs` and `vocabulary.build`.
    """
    flags = config.of(PairFlags)
    indexed = iter(index_sources([source for sources in sources_of.values() for source in sources], parts))
    drops_surplus = "surplus" in flags.drop_pairs
    aligned = {
        split: align([next(indexed) for _ in sources], INPUTS[split], drops_surplus)
        for split, sources in sources_of.items()
    }
    stretches = split_pairs(aligned, config.splits)
    tokenizers = _vocabularies(stretches["train"], config, parts)
    shards = {}
    for split, stretch in stretches.items():
        limits = flags.max_source_tokens, flags.max_target_tokens
        # A score counts every pair of its split, so only training leaves out what is long.
        rules = Rules("empty" in flags.drop_pairs, *limits, drop_long=split == "train")
        shards[split] = pair_shards(*tokenizers, stretch, rules, config.num_shards)
    files = _files(tokenizers, flags.joint_vocabulary)
    return DatasetPlan(shards, partial(_describe, config, tokenizers, stretches), partial(_save, tokenizers, files))


def _vocabularies(training: PairStretch, config: PrepareConfig, parts: Handover) -> tuple[Tokenizer, Tokenizer]:
    """The vocabularies of source and target; one object where they are joint."""
    flags, tokens = config.of(PairFlags), config.of(TokenizerFlags)

    def build(name: str, sides: tuple[tuple[int, ...], ...]) -> Tokenizer:
        texts = [PairTexts(training, side, "empty" in flags.drop_pairs) for side in sides]
        return vocabulary.build(parts, name, tokens.tokenizer, texts, tokens.vocab_size, **tokens.options)

    if flags.joint_vocabulary:
        joint = build("vocabulary", ((0,), (1,)))
        return joint, joint
    return build("source_vocabulary", ((0,),)), build("target_vocabulary", ((1,),))


def _files(tokenizers: tuple[Tokenizer, Tokenizer], joint: bool) -> tuple[str | None, str | None]:
    """The names of the vocabularies' files; None where the tokenizer needs none."""
    source, target = (tokenizer.file for tokenizer in tokenizers)
    if joint or source is None or target is None:
        return source, target
    return f"source_{source}", f"target_{target}"


def _save(tokenizers: tuple[Tokenizer, Tokenizer], files: tuple[str | None, str | None], directory: Path) -> None:
    for tokenizer, file in zip(tokenizers, files):
        tokenizer.save(directory, file)


def _describe(
    config: PrepareConfig,
    tokenizers: tuple[Tokenizer, Tokenizer],
    stretches: dict[str, PairStretch],
    name: str,
    splits: dict[str, Split],
    counted: dict[str, Counter[str]],
) -> tuple[Manifest, dict[str, Any]]:
    """The manifest and, split by split, tokens, unknown ones, lengths, and what was left out by which rule.

    Raises:
      DataError: a rule left no pair of a split.
    """
    dropped = {}
    for split, counter in counted.items():
        out = {
            "empty": counter["empty"] if "empty" in config.of(PairFlags).drop_pairs else 0,
            "surplus": stretches[split].surplus,
        }
        dropped[split] = {**out, "over_long": counter["over_long"] if split == "train" else 0}
        _check_left(split, stretches[split], counter)
    _log_findings(counted, dropped)
    counts = {
        split: PairCounts(
            counter["pairs"],
            counter["source_tokens"],
            counter["target_tokens"],
            counter["source_unknown"],
            counter["target_unknown"],
            dropped[split],
        )
        for split, counter in counted.items()
    }
    files = _files(tokenizers, config.of(PairFlags).joint_vocabulary)
    source, target = (VocabularyFacts(file, counter.size, counter.sha256) for file, counter in zip(files, tokenizers))
    facts = PairFacts(
        config.of(TokenizerFlags).tokenizer, config.of(PairFlags).joint_vocabulary, source, target, counts
    )
    written = Manifest(name, config.task, pair_features(*tokenizers), splits, facts)
    return written, _results(facts, counted)


def _check_left(split: str, stretch: PairStretch, counter: Counter[str]) -> None:
    if counter["pairs"]:
        return
    if counter["over_long"]:
        raise DataError(
            f"{stretch.name}: every training pair is over --max_source_tokens or --max_target_tokens; raise them"
        )
    raise DataError(f"{stretch.name}: every pair of the {split} split has a blank side; correct the files")


def _log_findings(counted: dict[str, Counter[str]], dropped: dict[str, dict[str, int]]) -> None:
    for split, counter in counted.items():
        out = dropped[split]
        findings = {
            "pairs have a blank side": (counter["empty"], out["empty"]),
            "pairs are over --max_source_tokens or --max_target_tokens": (counter["over_long"], out["over_long"]),
            "lines have no partner": (out["surplus"], out["surplus"]),
        }
        for what, (count, left_out) in findings.items():
            if count:
                _log.warning("%s: %d %s, %s", split, count, what, "left out" if left_out else "kept")


def _results(facts: PairFacts, counted: dict[str, Counter[str]]) -> dict[str, Any]:
    counts = facts.splits
    return {
        "tokens": {
            split: {"source": counter.source_tokens, "target": counter.target_tokens}
            for split, counter in counts.items()
        },
        "unknown_rate": {
            split: {
                "source": counter.source_unknown / max(counter.source_tokens, 1),
                "target": counter.target_unknown / max(counter.target_tokens, 1),
            }
            for split, counter in counts.items()
        },
        "longest": {
            split: {"source": counter["longest_source"], "target": counter["longest_target"]}
            for split, counter in counted.items()
        },
        "empty": {split: counter["empty"] for split, counter in counted.items()},
        "over_long": {split: counter["over_long"] for split, counter in counted.items()},
        "dropped": {split: counter.dropped for split, counter in counts.items()},
        "vocabulary_size": {"source": facts.source.size, "target": facts.target.size},
    }

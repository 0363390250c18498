"""Whether the parts of a manifest fit together."""

from __future__ import annotations

from pathlib import Path

from trainer.config.prepare import TOKENIZERS
from trainer.dataset.schema import Manifest, SeriesFacts
from trainer.dataset.special_tokens import SPECIAL

DTYPES = ("int64", "int32", "uint16", "uint8", "float32", "string")  # of features
LONGEST_NAME = 255  # bytes of a file's name


def check_manifest(manifest: Manifest) -> None:
    """Raises ValueError where parts of a manifest do not fit together, so that no reader trips over them."""
    kinds = {"forecast": manifest.series, "language_model": manifest.text, "seq2seq": manifest.pairs}
    if [task for task, own in kinds.items() if own is not None] != [manifest.task]:
        raise ValueError(f"it tells of something else than its task {manifest.task!r}, or of several things")
    if not manifest.name.isprintable():
        raise ValueError("its name is not printable")
    if manifest.series:
        told = {split for group in manifest.series.groups for split in group.splits}
        needed = {"group", "start", "values", "observed"} | ({"time"} if manifest.series.interval else set())
        needed |= {"known"} if manifest.series.known else set()
        if any(len(group.static) != len(manifest.series.static) for group in manifest.series.groups):
            raise ValueError("a group has other static columns than the dataset")
    else:
        facts = manifest.text or manifest.pairs
        assert facts is not None
        told = set(facts.splits)
        needed = {"document", "start", "lengths", "tokens"} if manifest.text else {"pair", "source", "target"}
        if facts.tokenizer not in TOKENIZERS:
            raise ValueError(f"{facts.tokenizer!r} is no tokenizer")
        if not all(_is_name(file) for file in manifest.vocabulary_files):
            raise ValueError("a vocabulary is no file of the directory")
    if told != set(manifest.splits):
        raise ValueError(f"the splits {sorted(manifest.splits)} are told of as {sorted(told)}")
    if missing := needed - {feature.name for feature in manifest.features}:
        raise ValueError(f"the feature {sorted(missing)[0]} is missing")
    if odd := {feature.dtype for feature in manifest.features} - set(DTYPES):
        raise ValueError(f"the type {sorted(odd)[0]} is unknown")
    if any(feature.lowest not in (0, len(SPECIAL) * (feature.unit == "id")) for feature in manifest.features):
        raise ValueError("a feature begins at another number than any does")
    if manifest.series:
        _check_series(manifest.series, manifest)
    for name, split in manifest.splits.items():
        if not all(_is_name(shard.file) for shard in split.shards):
            raise ValueError(f"a shard of {name} is no file of the directory")
        # Readers make room for what they are told of: no more than the shards can hold.
        counts = manifest.text.splits[name] if manifest.text else None
        if counts and not 0 <= counts.documents <= counts.tokens <= split.bytes:
            raise ValueError(f"the counts of {name} do not fit together")
        if manifest.pairs and manifest.pairs.splits[name].pairs != split.records:
            raise ValueError(f"{name} has {split.records} records for {manifest.pairs.splits[name].pairs} pairs")


def _is_name(file: str) -> bool:
    return Path(file).name == file and file.isprintable() and len(file) <= LONGEST_NAME


def _check_series(facts: SeriesFacts, manifest: Manifest) -> None:
    """Raises ValueError where statistics or rows of series do not fit their number or the size of the shards."""
    width = len(facts.columns)
    if not width or (facts.interval and (facts.interval.count < 1 or facts.interval.unit not in ("second", "month"))):
        raise ValueError("there are no columns, or no such interval")
    for group in facts.groups:
        if (len(group.mean), len(group.std)) != (width, width) or min(group.std) <= 0:
            raise ValueError(f"the statistics of {group.name!r} do not fit")
        ends = [0, *(end for _, end in sorted(group.splits.values()))]
        if sorted(ends) != ends or ends[-1] > group.rows or [first for first, _ in sorted(group.splits.values())] != ends[:-1]:
            raise ValueError(f"the splits of {group.name!r} do not follow one another")
    for name, split in manifest.splits.items():
        rows = sum(group.splits[name][1] - group.splits[name][0] for group in facts.groups if name in group.splits)
        if rows * width > split.bytes:
            raise ValueError(f"{name} tells of more rows than its shards hold")

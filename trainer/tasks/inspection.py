"""What a dataset holds, from its records: sizes, lengths, statistics, examples. No TensorFlow, one record in memory at a time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from trainer.dataset import intervals, tfrecord
from trainer.dataset.schema import Manifest, SeriesFacts
from trainer.dataset.shard_files import check_files
from trainer.dataset.special_tokens import SPECIAL, UNKNOWN
from trainer.errors import DataError
from trainer.storage import staging
from trainer.text import tokenizers
from trainer.text.tokenizer import Tokenizer, read_ids

EXAMPLE_TOKENS = 40  # of a document; pairs are shown whole
FREQUENT = 8
Record = dict[str, Any]


def inspect_dataset(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    """Reads every record of a dataset.

    Args:
      data_dir: the dataset's directory.
      manifest: what its dataset.json tells.
      examples: decoded examples of each split: documents, pairs, or rows of the first group.

    Returns:
      `splits`: split -> sizes and lengths; `examples`: split -> the first ones; `vocabulary` or `series`: statistics.

    Raises:
      DataError: a shard or vocabulary is missing or damaged, or holds something else than dataset.json tells.
    """
    read = _inspect_series if manifest.series else _inspect_text if manifest.text else _inspect_pairs if manifest.pairs else None
    if read is None:
        raise DataError(f"{data_dir} holds {manifest.task} records, which this program does not know; prepare the dataset again")
    return read(data_dir, manifest, examples)


def _inspect_text(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    facts = manifest.text
    assert facts is not None
    tokenizer = tokenizers.load(facts.tokenizer, data_dir, facts.vocabulary_sha256)
    counts = np.zeros(tokenizer.size, np.int64)
    splits, shown = {}, {}
    for split in manifest.splits:
        lengths = np.zeros(facts.splits[split].documents, np.int64)
        beginnings: dict[int, list[int]] = {}
        last = [(-1, 0)]  # document and start of the record before

        def read(
            record: Record,
            lengths: np.ndarray = lengths,
            beginnings: dict[int, list[int]] = beginnings,
            split: str = split,
            last: list = last,
        ) -> None:
            tokens, own = _array(record, "tokens", manifest), _array(record, "lengths", manifest)
            document, before = record["document"][0], last.pop()
            last.append((document, record["start"][0]))
            if document + len(own) > len(lengths) or own.sum() != len(tokens) or last[0] <= before:
                raise ValueError(f"its tokens are not those that document {document} goes on with")
            lengths[document : document + len(own)] += own
            for number, part in zip(range(document, min(document + len(own), examples)), np.split(tokens, np.cumsum(own)[:-1])):
                beginning = beginnings.setdefault(number, [])
                beginning += part[: EXAMPLE_TOKENS - len(beginning)].tolist()
            used = _token_counts(tokens, tokenizer)
            if split == "train":
                counts[:] += used

        _read_split(data_dir, manifest, split, read)
        _check_total(data_dir, split, int(lengths.sum()), facts.splits[split].tokens, "tokens")
        told = facts.splits[split]
        splits[split] = {
            **_files(manifest, split), "documents": told.documents, "tokens": told.tokens, "characters": told.characters,
            "unknown_rate": told.unknown / max(told.tokens, 1), "tokens_a_document": _distribution(lengths),
        }  # fmt: skip
        shown[split] = [{"text": tokenizer.decode(beginnings[number])} for number in sorted(beginnings)]
    return {"splits": splits, "vocabulary": _vocabulary(tokenizer, counts), "examples": shown}


def _inspect_pairs(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    facts = manifest.pairs
    assert facts is not None
    sides = {"source": facts.source, "target": facts.target}
    own = {side: tokenizers.load(facts.tokenizer, data_dir, told.sha256, told.file) for side, told in sides.items()}
    counts = {side: np.zeros(tokenizer.size, np.int64) for side, tokenizer in own.items()}
    splits, shown = {}, {}
    for split in manifest.splits:
        told = facts.splits[split]
        lengths: dict[str, list[int]] = {side: [] for side in sides}
        first: list[dict[str, str]] = []
        last = [-1]  # number of the pair before

        def read(
            record: Record,
            lengths: dict[str, list[int]] = lengths,
            first: list[dict[str, str]] = first,
            split: str = split,
            last: list = last,
        ) -> None:
            ids, before = {side: _array(record, side, manifest) for side in sides}, last.pop()
            last.append(record["pair"][0])
            if last[0] <= before:
                raise ValueError(f"it is pair {last[0]} after pair {before}")
            for side in sides:
                lengths[side].append(len(ids[side]))
                used = _token_counts(ids[side], own[side])
                if split == "train":
                    counts[side] += used
            if len(first) < examples:
                first.append({side: own[side].decode(ids[side]) for side in sides})

        _read_split(data_dir, manifest, split, read)
        _check_total(data_dir, split, len(lengths["source"]), told.pairs, "pairs")
        splits[split] = {
            **_files(manifest, split), "pairs": told.pairs, "tokens": {"source": told.source_tokens, "target": told.target_tokens},
            "unknown_rate": {
                "source": told.source_unknown / max(told.source_tokens, 1), "target": told.target_unknown / max(told.target_tokens, 1),
            },
            "dropped": told.dropped,
            "tokens_a_text": {side: _distribution(np.array(lengths[side])) for side in sides},
        }  # fmt: skip
        shown[split] = first
    vocabularies = {side: _vocabulary(own[side], counts[side]) for side in sides}
    return {"splits": splits, "vocabulary": {"joint": facts.joint, **vocabularies}, "examples": shown}


def _inspect_series(data_dir: str, manifest: Manifest, examples: int) -> dict[str, Any]:
    facts = manifest.series
    assert facts is not None
    shape = (len(facts.groups), len(facts.columns))
    low, high, observed = np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape, np.int64)
    splits, shown = {}, {}
    for split in manifest.splits:
        rows = np.zeros(shape[0], np.int64)
        seen = np.zeros((), np.int64)
        first: list[dict[str, Any]] = []

        def read(
            record: Record, rows: np.ndarray = rows, seen: np.ndarray = seen, first: list[dict[str, Any]] = first, split: str = split
        ) -> None:
            group = record["group"][0]
            values, there = (_array(record, name, manifest).reshape(-1, shape[1]) for name in ("values", "observed"))
            if not 0 <= group < shape[0] or values.shape != there.shape:
                raise ValueError("its group or its shape is none of the dataset's")
            expected = facts.groups[group].splits[split][0] + int(rows[group])
            if record["start"][0] != expected:
                raise ValueError(f"it begins with row {record['start'][0]} where row {expected} should be")
            there = there.astype(bool)
            if not np.isfinite(values[there]).all():
                raise ValueError("a value that is marked as observed is no finite number")
            low[group] = np.minimum(low[group], np.where(there, values, np.inf).min(axis=0, initial=np.inf))
            high[group] = np.maximum(high[group], np.where(there, values, -np.inf).max(axis=0, initial=-np.inf))
            observed[group] += there.sum(axis=0)
            rows[group] += len(values)
            seen[...] += there.sum()
            first.extend(_rows(record, facts, manifest, values, there, examples - len(first)))

        _read_split(data_dir, manifest, split, read)
        ranges = [group.splits[split] for group in facts.groups if split in group.splits]
        _check_total(data_dir, split, int(rows.sum()), sum(end - start for start, end in ranges), "rows")
        splits[split] = {
            **_files(manifest, split), "groups": len(ranges), "rows": int(rows.sum()),
            "missing_rate": 1 - int(seen) / max(int(rows.sum()) * shape[1], 1),
            "rows_a_group": _distribution(np.array([end - start for start, end in ranges])),
        }  # fmt: skip
        shown[split] = first
    series = [_series(facts, group, column, low, high, observed) for group in range(shape[0]) for column in range(shape[1])]
    return {"splits": splits, "interval": intervals.describe(facts.interval), "series": series, "examples": shown}


def _series(facts: SeriesFacts, group: int, column: int, low: np.ndarray, high: np.ndarray, observed: np.ndarray) -> dict[str, Any]:
    """One series: mean and std are the training rows', the others those of all splits; None where nothing was observed."""
    own, some = facts.groups[group], bool(observed[group, column])
    return {
        "group": own.name, "column": facts.columns[column], "mean": own.mean[column], "std": own.std[column],
        "min": float(low[group, column]) if some else None, "max": float(high[group, column]) if some else None,
        "observed": int(observed[group, column]),
    }  # fmt: skip


def _rows(record: Record, facts: SeriesFacts, manifest: Manifest, values: np.ndarray, there: np.ndarray, count: int) -> Iterator[Record]:
    """The first rows of a record, None where missing."""
    times = _array(record, "time", manifest) if facts.interval else None
    for row in range(min(count, len(values))):
        place: Record = {"group": facts.groups[record["group"][0]].name, "row": record["start"][0] + row}
        if times is not None:
            place["time"] = intervals.format_time(int(times[row]))
        cells = (float(value) if known else None for value, known in zip(values[row], there[row]))
        yield {**place, "values": dict(zip(facts.columns, cells))}


def _read_split(data_dir: str, manifest: Manifest, split: str, read: Callable[[Record], None]) -> None:
    """Hands every record of a split to `read`, in order; DataError names the record that does not fit."""
    paths = check_files(data_dir, manifest, (split,))
    with tqdm(total=manifest.splits[split].records, unit=" records", desc=split, disable=not sys.stderr.isatty()) as bar:
        for path in paths:
            for number, content in enumerate(tfrecord.scan(staging.arrived(path))):
                try:
                    read(tfrecord.decode_example(content))
                except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                    reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                    remedy = "prepare the dataset again"
                    raise DataError(f"{path} record {number} is none of a {manifest.task} dataset ({reason}); {remedy}") from None
                bar.update()


def _array(record: Record, name: str, manifest: Manifest) -> np.ndarray:
    """An array feature, one-dimensional, of the type that the manifest tells; ids as they are."""
    feature = next(feature for feature in manifest.features if feature.name == name)
    dtype = np.dtype(feature.dtype)
    return read_ids(np.frombuffer(record[name][0], dtype.newbyteorder("<")).astype(dtype), feature.lowest)


def _token_counts(tokens: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < tokenizer.size:
        raise ValueError(f"it holds an id outside the vocabulary of {tokenizer.size}")
    return np.bincount(tokens, minlength=tokenizer.size)


def _check_total(data_dir: str, split: str, found: int, told: int, unit: str) -> None:
    if found != told:
        raise DataError(f"{data_dir}: the shards of {split} hold {found} {unit}, dataset.json tells {told}; prepare the dataset again")


def _files(manifest: Manifest, split: str) -> dict[str, int]:
    own = manifest.splits[split]
    return {"records": own.records, "shards": len(own.shards), "bytes": own.bytes}


def _distribution(lengths: np.ndarray) -> dict[str, float]:
    """Smallest, middle, mean, 95th percentile and largest."""
    if not len(lengths):
        return {}
    middle, high = np.percentile(lengths, [50, 95])
    values = {"min": lengths.min(), "median": middle, "mean": lengths.mean(), "p95": high, "max": lengths.max()}
    return {name: round(float(value), 3) for name, value in values.items()}


def _vocabulary(tokenizer: Tokenizer, counts: np.ndarray) -> dict[str, Any]:
    """The vocabulary and how the training split uses it."""
    usage = Counter({index: int(count) for index, count in enumerate(counts) if count})
    frequent = [index for index, _ in usage.most_common(FREQUENT)]
    ordinary = counts[len(SPECIAL) :]
    return {
        "tokenizer": tokenizer.kind, "size": tokenizer.size, "sha256": tokenizer.sha256, "unused": int((ordinary == 0).sum()),
        "frequent": [{"token": _token_text(tokenizer, index), "count": usage[index]} for index in frequent],
    }  # fmt: skip


def _token_text(tokenizer: Tokenizer, index: int) -> str:
    return SPECIAL[UNKNOWN] if index == UNKNOWN else tokenizer.decode([index])

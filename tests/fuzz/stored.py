"""What a dataset directory holds, read by its documented format alone: an oracle for the readers of the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from trainer.dataset import tfrecord
from trainer.text import tokenizers
from trainer.text.tokenizer import Tokenizer

from .outcome import demand

Record = dict[str, Any]


def manifest_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "dataset.json").read_text(encoding="utf-8"))


def records(directory: Path, split: str) -> list[Record]:
    """The records of a split, in the order of its shards."""
    shards = manifest_of(directory)["splits"][split]["shards"]
    found = []
    for shard in shards:
        own = [tfrecord.decode_example(content) for content in tfrecord.scan(directory / shard["file"])]
        demand(len(own) == shard["records"], f"{shard['file']} has {len(own)} records")
        found += [{name: values[0] for name, values in record.items()} for record in own]
    return found


def table(directory: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Values of the one group of a forecasting dataset over all splits, [T, D] with NaN where missing, and times
    [T].
    """
    told = manifest_of(directory)
    columns = len(told["facts"]["columns"])
    values, times, rows = [], [], 0
    for split in told["splits"]:
        for record in records(directory, split):
            demand((record["group"], record["start"]) == (0, rows), f"record at row {record['start']}, expected {rows}")
            own = np.frombuffer(record["values"], "<f4").reshape(-1, columns)
            there = np.frombuffer(record["observed"], "u1").reshape(-1, columns)
            values.append(np.where(there != 0, own, np.float32(np.nan)))
            times.append(np.frombuffer(record.get("time", b""), "<i8"))
            rows += len(own)
    return np.concatenate(values), np.concatenate(times) if told["facts"]["interval"] else None


def documents(directory: Path, split: str) -> list[str]:
    """The documents of a split of a text dataset, decoded."""
    told = manifest_of(directory)
    feature = next(feature for feature in told["features"] if feature["name"] == "tokens")
    found: dict[int, list[np.ndarray]] = {}
    for record in records(directory, split):
        ids, first = _ids(record["tokens"], feature), 0
        for number, length in enumerate(np.frombuffer(record["lengths"], "<i8").tolist(), record["document"]):
            found.setdefault(number, []).append(ids[first : first + length])
            first += length
        demand(first == len(ids), f"{len(ids)} tokens, {first} in documents")
    tokenizer = tokenizers.load(told["facts"]["tokenizer"], directory)
    return [tokenizer.decode(np.concatenate(found[number])) for number in range(len(found))]


def pairs(directory: Path, split: str) -> tuple[list[tuple[int, tuple[str, str]]], list[tuple[str, str]]]:
    """The pairs of a split as texts, each with its number, and as decoded ids."""
    told = manifest_of(directory)
    features = {feature["name"]: feature for feature in told["features"] if feature["unit"] == "id"}
    own: dict[str, Tokenizer] = {
        side: tokenizers.load(told["facts"]["tokenizer"], directory, file=told["facts"][side]["file"])
        for side in features
    }
    texts, decoded = [], []
    for record in records(directory, split):
        texts.append((record["pair"], (record["source_text"].decode(), record["target_text"].decode())))
        one, two = (own[side].decode(_ids(record[side], features[side])) for side in ("source", "target"))
        decoded.append((one, two))
    return texts, decoded


def _ids(content: bytes, feature: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(content, np.dtype(feature["dtype"]).newbyteorder("<")).astype(np.int64) + feature["lowest"]

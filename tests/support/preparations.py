"""Inputs of all kinds, and the flags to prepare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.dataset import handoff as parts
from trainer.tasks.language_model import token_records
from trainer.text import text_pieces, text_source, vocabulary

WORDS = ["alpha", "beta", "gamma", "délta", "\u0395psilon", "z" * 40, "x-y", "1,000", "(see)"]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a little text is many pieces, jobs and records."""
    monkeypatch.setattr(text_pieces, "PIECE_BYTES", 2000)
    monkeypatch.setattr(text_source, "GROUP_PIECES", 3)
    monkeypatch.setattr(token_records, "RECORD_CHARACTERS", 700)
    monkeypatch.setattr(vocabulary, "SAMPLE_CHARACTERS", 20_000)
    monkeypatch.setattr(vocabulary, "SAMPLE_PLACES", 20)
    monkeypatch.setattr(parts, "ROUND", 1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        lines = [" ".join(random.choice(WORDS, random.integers(0, 12))) for _ in range(400)]
        (directory / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for side in ("en", "de"):
        lines = [f"{side} {number} " + " ".join(random.choice(WORDS, random.integers(0, 9))) for number in range(500)]
        (directory / f"pairs.{side}").write_text(
            "".join(f"{line}\n" if len(line) % 7 else "\n" for line in lines), encoding="utf-8"
        )
    for name, rows in (("north", 90), ("south", 300), ("late", 40)):
        values = random.normal(50, 3, (rows, 2)).round(2)
        text = "".join(
            f"2020-{1 + row // 240:02}-{1 + row // 24 % 10:02} {row % 24:02}:00,{a},{b}\n"
            for row, (a, b) in enumerate(values)
        )
        (directory / f"{name}.csv").write_text("date,a,b\n" + text)
    return directory


def settings_of(inputs: Path, kind: str) -> dict[str, Any]:
    if kind == "csv":
        files = {"input": (f"{inputs}/north.csv", f"{inputs}/south.csv"), "test_input": (f"{inputs}/late.csv",)}
        return {"task": "forecast", "source": "csv", "name": "d", **files, "splits": ("0.8", "0.2")}
    source, _, tokenizer = kind.partition("-")
    size = {"sentencepiece": 90, "word": 12}.get(tokenizer)
    if source == "pairs":
        rules = {"drop_pairs": ("empty",), "max_source_tokens": 300 if tokenizer in ("char", "byte") else 12}
        return {
            "task": "seq2seq",
            "source": "pairs",
            "name": "d",
            "input": (f"{inputs}/pairs.en", f"{inputs}/pairs.de"),
            "tokenizer": tokenizer,
            "vocab_size": size,
            "joint_vocabulary": tokenizer == "word",
            **rules,
        }
    texts = {"input": (f"{inputs}/[ab].txt",), "validation_input": (f"{inputs}/c.txt",)}
    return {
        "task": "language_model",
        "source": "text",
        "name": "d",
        "documents": source,
        **texts,
        "tokenizer": tokenizer,
        "vocab_size": size,
    }


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}

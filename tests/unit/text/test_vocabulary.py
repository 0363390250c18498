"""Vocabularies from text in parts, against the whole text at once; bounded samples and counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trainer.dataset.handoff import Handover, PreparationTask
from trainer.dataset.process_pool import Workers
from trainer.dataset.shared_directory import SharedDirectory
from trainer.text import text_pieces, text_source, tokenizers, vocabulary
from trainer.text.text_pieces import Indexed, count_pieces, open_text
from trainer.text.text_source import Stretch, split_texts

TEXT = "\n".join(" ".join(f"w{number % 97} é{line % 13}" for number in range(line % 11)) for line in range(3000)) + "\n"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_pieces, "PIECE_BYTES", 5000)
    monkeypatch.setattr(text_source, "GROUP_PIECES", 2)


def training(tmp_path: Path, kind: str) -> list[Stretch]:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    file = open_text(str(tmp_path / "a.txt"), "stream" if kind == "stream" else "documents")
    source = Indexed(file, count_pieces([(file, piece) for piece in range(file.pieces)]))
    return split_texts({"train": [source]}, kind, ("1",))["train"]


@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_counts_of_parts_are_those_of_the_whole(tmp_path: Path, tokenizer: str) -> None:
    parts = Handover(SharedDirectory(tmp_path / "d"), {}, PreparationTask(), Workers(1))
    for kind, whole in (("lines", [line for line in TEXT.split("\n") if line]), ("stream", [TEXT])):
        stretches = training(tmp_path, kind)
        assert len(stretches[0].parts()) > 3
        found = vocabulary.build(parts, kind, tokenizer, stretches, None)
        entries = set(found.content.split(b"\n"))
        own = set(tokenizers.from_counts(tokenizer, tokenizers.count(tokenizer, whole)).content.split(b"\n"))
        assert own <= entries  # a word on the border of two pieces of a stream may make two more
        assert len(entries - own) <= (40 if (kind, tokenizer) == ("stream", "word") else 0)
        # The next task reads what this one has left.
        assert vocabulary.build(parts, kind, tokenizer, [], None).sha256 == found.sha256


def test_characters_are_counted_as_a_counter_counts_them() -> None:
    text = "aé\u20ac\U0001f600a\n\x00" * 3
    assert tokenizers.count("char", [text, "a"]) == Counter(text + "a")


def test_short_text_is_the_sample_and_long_text_gives_even_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("stream", "lines"):
        stretches = training(tmp_path, kind)
        assert "".join(vocabulary.sample(stretches)) == (TEXT if kind == "stream" else TEXT.replace("\n", ""))
        monkeypatch.setattr(vocabulary, "SAMPLE_CHARACTERS", 4000)
        monkeypatch.setattr(vocabulary, "SAMPLE_PLACES", 20)
        whole = stretches[0]
        for own in (stretches, [whole.part(0, whole.end // 3), whole.part(whole.end // 3, whole.end)]):
            sample = list(vocabulary.sample(own))
            assert 2000 < sum(map(len, sample)) <= 4000
            assert all(text in TEXT for text in sample)
            firsts = [text for text in sample if len(text) > 30]
            places = (
                np.array([TEXT.index(text) for text in firsts]) if kind == "stream" else np.linspace(0, len(TEXT), 20)
            )
            assert np.diff(np.sort(places)).max() < len(TEXT) / 5
            assert list(vocabulary.sample(own)) == sample
        monkeypatch.undo()
        monkeypatch.setattr(text_pieces, "PIECE_BYTES", 5000)


def test_counts_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "MOST_COUNTED", 100)
    texts = (
        " ".join(f"word{number}" for number in range(first, first + 40)) + " often" * 50 for first in range(0, 4000, 40)
    )
    counts = tokenizers.count("word", texts)
    assert len(counts) <= 100 and counts.most_common(1)[0] == (" often", 50 * 100)

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from trainer.errors import DataError
from trainer.tasks.language_model.sample_text import sample_text
from trainer.text.text_pieces import Indexed, Memory, TextFile, count_pieces, split_text
from trainer.text.text_source import Stretch, shard_parts, split_texts


def index(name: str, text: str, kind: str = "stream") -> Indexed:
    source = Memory(name, split_text(text, kind)[0])
    return Indexed(source, count_pieces([(source, 0)]))


def texts(found: dict[str, list[Stretch]]) -> dict[str, list[str]]:
    return {split: [text for stretch in own for text in stretch.texts()] for split, own in found.items()}


def test_each_stream_is_split_by_characters() -> None:
    given = {"train": [index("a", "0123456789"), index("b", "é" * 20)], "validation": [], "test": []}
    found = split_texts(given, "stream", ("0.7", "0.1", "0.2"))
    assert texts(found) == {"train": ["0123456", "é" * 14], "validation": ["7", "é" * 2], "test": ["89", "é" * 4]}
    assert [[stretch.document for stretch in own] for own in found.values()] == [[0, 1]] * 3
    found = split_texts(given, "stream", ("8", "2"))
    assert texts(found) == {"train": ["01234567", "é" * 8], "validation": ["89", "é" * 2]}
    with pytest.raises(DataError, match="a has 10 characters, --splits=18,2 needs 20"):
        split_texts(given, "stream", ("18", "2"))


def test_lines_are_documents_and_blank_ones_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trainer")
    (tmp_path / "a").write_bytes("one\n\n two\u2028x\r\n \t\nthree\nfour".encode())
    file = TextFile(str(tmp_path / "a"), "documents", 33, 7)
    text = Indexed(file, count_pieces([(file, piece) for piece in range(file.pieces)]))
    found = split_texts({"train": [text, index("c", "x\ny", "documents")]}, "lines", ("0.5", "0.5"))
    assert texts(found) == {"train": ["one", " two\u2028x", "x"], "validation": ["three", "four", "y"]}
    assert [[stretch.document for stretch in own] for own in found.values()] == [[0, 2], [0, 2]]
    assert "a: 2 blank lines were skipped" in caplog.text and "a: 1 lines end with CR LF" in caplog.text
    with pytest.raises(DataError, match="a has 4 documents, too few for the validation split"):
        split_texts({"train": [text]}, "lines", ("0.9", "0.01"))
    with pytest.raises(DataError, match="b holds blank lines only"):
        split_texts({"train": [text], "test": [index("b", "\n \n", "documents")]}, "lines", ("1",))


def test_files_of_their_own() -> None:
    given = {"train": [index("a", "0123456789")], "validation": [index("b", "vv")], "test": [index("c", "t")]}
    found = split_texts(given, "stream", ("0.7", "0.1", "0.2"))
    assert texts(found) == {"train": ["0123456789"], "validation": ["vv"], "test": ["t"]}


@pytest.mark.parametrize("sizes", [(10,), (1, 1, 1), (7, 1, 5, 1, 1, 30), (100, 3)])
def test_shards_are_equal_parts_of_the_units(sizes: tuple[int, ...]) -> None:
    sources = [index(f"{number}", "".join(chr(65 + number) for _ in range(size))) for number, size in enumerate(sizes)]
    stretches = [
        Stretch(source, 0, size, number, (0, size)) for number, (source, size) in enumerate(zip(sources, sizes))
    ]
    units = "".join(text for stretch in stretches for text in stretch.texts())
    for shards in range(1, min(len(units), 12) + 1):
        parts = ["".join(text for stretch in own for text in stretch.texts()) for own in shard_parts(stretches, shards)]
        borders = [len(units) * shard // shards for shard in range(shards + 1)]
        assert parts == [units[first:end] for first, end in pairwise(borders)]


def test_the_sample_is_english() -> None:
    text = sample_text()
    assert len(text) > 200_000 and text == sample_text()
    assert text.lower().count(" the ") > 1000 and "\r" not in text

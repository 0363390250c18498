"""Line-aligned files as pairs, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer.errors import ConfigError, DataError
from trainer.tasks.seq2seq.source import PairStretch, PairTexts, align, open_pairs, split_pairs
from trainer.text import text_pieces
from trainer.text.text_pieces import Indexed, Memory, count_pieces


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_pieces, "PIECE_BYTES", 8)


def write(path: Path, content: str) -> str:
    path.write_bytes(content.encode())
    return str(path)


def read_pairs(paths: Sequence[str], flag: str = "input", drop_surplus: bool = False) -> PairStretch:
    sources = open_pairs(paths, flag)
    indexed = [Indexed(source, count_pieces([(source, piece) for piece in range(source.pieces)])) for source in sources]
    return align(indexed, flag, drop_surplus)


def memory(name: str, pairs: list[tuple[str, str]]) -> PairStretch:
    source = Memory(name, pairs)
    return align([Indexed(source, count_pieces([(source, 0)]))], "input", False)


def test_two_files(tmp_path: Path) -> None:
    # Only a line feed ends a line: the other separators of Unicode are text.
    source = write(tmp_path / "a.en", "\ufeffa dog\r\n\r\n  two  cats\u2028here\x0b\n")
    target = write(tmp_path / "a.de", "ein Hund\n\nzwei\tKatzen")
    pairs = read_pairs([source, target])
    assert pairs.name == f"{source} and {target}" and pairs.surplus == 0
    assert list(pairs.pairs()) == [("a dog", "ein Hund"), ("", ""), ("  two  cats\u2028here\x0b", "zwei\tKatzen")]
    assert list(pairs.part(1, 3).pairs()) == list(pairs.pairs())[1:]


def test_one_file_with_tabs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "a dog\tein Hund\n\n\tnichts\nnothing\t\n")
    assert list(read_pairs([path]).pairs()) == [("a dog", "ein Hund"), ("", ""), ("", "nichts"), ("nothing", "")]
    for content, told in (("a\tb\nc\n", "line 2: has 0 tabs"), ("a\tb\tc\n", "line 1: has 2 tabs")):
        path = write(tmp_path / "bad.tsv", content)
        with pytest.raises(DataError, match=f"bad.tsv {told}"):
            read_pairs([path])


def test_unequal_line_counts(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.en", "a\nb\nc\n"), write(tmp_path / "a.de", "A\n")
    with pytest.raises(DataError, match=r"a\.en has 3 lines and .*a\.de 1, so .* with --drop_pairs=surplus"):
        read_pairs([source, target])
    for paths, texts in (([source, target], ("a", "A")), ([target, source], ("A", "a"))):
        pairs = read_pairs(paths, drop_surplus=True)
        assert (list(pairs.pairs()), pairs.surplus) == ([texts], 2)


def test_files_that_are_no_pairs(tmp_path: Path) -> None:
    files = [write(tmp_path / name, "a\n") for name in "abc"]
    with pytest.raises(ConfigError, match=r"--test_input=.* names 3 files"):
        read_pairs(files, "test_input")
    with pytest.raises(DataError, match="is empty"):
        read_pairs([files[0], write(tmp_path / "empty", "")])
    (tmp_path / "latin").write_bytes(b"a\nb\xe4r\n")
    with pytest.raises(DataError, match="latin line 2: is not UTF-8"):
        read_pairs([files[0], str(tmp_path / "latin")])


def test_splits() -> None:
    whole, test = memory("w", [(str(number), f"t{number}") for number in range(10)]), memory("t", [("x", "y")])
    parts = split_pairs({"train": whole}, ["0.7", "0.1", "0.2"])
    assert {split: [source for source, _ in part.pairs()] for split, part in parts.items()} == {
        "train": list("0123456"),
        "validation": ["7"],
        "test": ["8", "9"],
    }
    assert all(target == f"t{source}" for part in parts.values() for source, target in part.pairs())
    assert [part.begin for part in parts.values()] == [0, 7, 8]
    parts = split_pairs({"train": whole, "test": test}, ["0.7", "0.1", "0.2"])
    assert list(parts) == ["train", "validation", "test"] and len(list(parts["train"].pairs())) == 9
    assert list(parts["test"].pairs()) == [("x", "y")]
    with pytest.raises(DataError, match="w has 10 pairs, --splits=20,2 needs 22"):
        split_pairs({"train": whole}, ["20", "2"])


def test_training_text_of_a_vocabulary(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("", "c"), ("d", "e")]
    files = [write(tmp_path / f"{side}", "".join(f"{pair[side]}\n" for pair in pairs)) for side in (0, 1)]
    for stretch in (memory("m", pairs), read_pairs(files)):
        assert list(PairTexts(stretch, (0,), False).texts()) == ["a", "", "d"]
        assert list(PairTexts(stretch, (1,), True).texts()) == ["b", "e"]
        assert [text for part in PairTexts(stretch, (1,), False).parts() for text in part.texts()] == ["b", "c", "e"]

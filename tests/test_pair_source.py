"""Line-aligned files as pairs, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data.pair_source import TextPairs, read_pairs, split_pairs
from trainer.errors import ConfigError, DataError


def write(path: Path, content: str) -> str:
    path.write_bytes(content.encode())
    return str(path)


def test_two_files(tmp_path: Path) -> None:
    # Only a line feed ends a line: the other separators of Unicode are text.
    source = write(tmp_path / "a.en", "\ufeffa dog\r\n\r\n  two  cats\u2028here\x0b\n")
    target = write(tmp_path / "a.de", "ein Hund\n\nzwei\tKatzen")
    pairs = read_pairs([source, target], "input", False)
    assert pairs == TextPairs(f"{source} and {target}", ["a dog", "", "  two  cats\u2028here\x0b"], ["ein Hund", "", "zwei\tKatzen"])


def test_one_file_with_tabs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "a dog\tein Hund\n\n\tnichts\nnothing\t\n")
    assert read_pairs([path], "input", False) == TextPairs(path, ["a dog", "", "", "nothing"], ["ein Hund", "", "nichts", ""])
    for content, told in (("a\tb\nc\n", "line 2: has 0 tabs"), ("a\tb\tc\n", "line 1: has 2 tabs")):
        path = write(tmp_path / "bad.tsv", content)
        with pytest.raises(DataError, match=f"bad.tsv {told}"):
            read_pairs([path], "input", False)


def test_unequal_line_counts(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.en", "a\nb\nc\n"), write(tmp_path / "a.de", "A\n")
    with pytest.raises(DataError, match=r"a\.en has 3 lines and .*a\.de 1, so .* with --drop_pairs=surplus"):
        read_pairs([source, target], "input", False)
    for paths, texts in (([source, target], (["a"], ["A"])), ([target, source], (["A"], ["a"]))):
        pairs = read_pairs(paths, "input", True)
        assert (pairs.source, pairs.target, pairs.surplus) == (*texts, 2)


def test_files_that_are_no_pairs(tmp_path: Path) -> None:
    files = [write(tmp_path / name, "a\n") for name in "abc"]
    with pytest.raises(ConfigError, match=r"--test_input=.* names 3 files"):
        read_pairs(files, "test_input", False)
    with pytest.raises(DataError, match="is empty"):
        read_pairs([files[0], write(tmp_path / "empty", "")], "input", False)
    (tmp_path / "latin").write_bytes(b"a\nb\xe4r\n")
    with pytest.raises(DataError, match="latin line 2: is no UTF-8"):
        read_pairs([files[0], str(tmp_path / "latin")], "input", False)


def test_splits() -> None:
    whole = TextPairs("w", [str(number) for number in range(10)], [f"t{number}" for number in range(10)], surplus=3)
    test = TextPairs("t", ["x"], ["y"])
    parts = split_pairs({"train": whole}, ["0.7", "0.1", "0.2"])
    assert {split: part.source for split, part in parts.items()} == {
        "train": list("0123456"),
        "validation": ["7"],
        "test": ["8", "9"],
    }
    assert all(part.target == [f"t{text}" for text in part.source] for part in parts.values())
    assert [part.surplus for part in parts.values()] == [3, 0, 0]
    parts = split_pairs({"train": whole, "test": test}, ["0.7", "0.1", "0.2"])
    assert list(parts) == ["train", "validation", "test"] and len(parts["train"].source) == 9 and parts["test"] == test
    with pytest.raises(DataError, match="w has 10 pairs, --splits=20,2 needs 22"):
        split_pairs({"train": whole}, ["20", "2"])

"""Pieces of text, put together again, are the text, however it is cut."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.errors import DataError
from trainer.text import text_pieces
from trainer.text.text_pieces import Indexed, Memory, TextFile, count_pieces, open_text

PARTS = st.sampled_from(["a", "\n", "\r\n", "\r", "é", "\u20ac", "\U0001f600", "\t", " ", "\u2028", "\ufeff"])


def write(tmp_path: Path, content: bytes, name: str = "a.txt") -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


def index(path: str, kind: str = "stream") -> Indexed:
    file = open_text(path, kind)
    return Indexed(file, count_pieces([(file, piece) for piece in range(file.pieces)]))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, min_size=1, max_size=60), size=st.integers(4, 20), data=st.data())
def test_any_units_of_any_text(tmp_path: Path, parts: list[str], size: int, data: st.DataObject) -> None:
    path = write(tmp_path, "x".join(parts).encode() + b"y")
    text = "x".join(parts).removeprefix("\ufeff").replace("\r\n", "\n") + "y"
    lines = text.removesuffix("\n").split("\n")
    expected = {"stream": text, "lines": lines, "documents": [line for line in lines if line.strip()]}
    for kind, content in expected.items():
        file = TextFile(path, kind, Path(path).stat().st_size, size)
        source = Indexed(file, count_pieces([(file, piece) for piece in range(file.pieces)]))
        assert source.units == len(content)
        if not content:
            continue
        first = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(first + 1, len(content)))
        found = [part for piece in source.read(first, end) for part in piece]
        assert found == list(content[first:end])
        assert source.characters(0, source.units) == sum(file.read(piece)[1].characters for piece in range(file.pieces))
        cuts = source.stretches(first, end, 3)
        assert cuts[0][0] == first and cuts[-1][1] == end and all(one[1] == two[0] for one, two in pairwise(cuts))


def test_marks_and_line_ends_are_cleaned(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffé\r\nb\rc\n\u2028d\r\n".encode())
    assert "".join(map(str, index(path).read(0, 8))) == "é\nb\rc\n\u2028d"
    assert index(path).units == 9 and index(path).crlf == 2


@pytest.mark.parametrize("size", [4, 5, 100])
def test_files_that_are_no_text(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_pieces, "PIECE_BYTES", size)
    for kind in ("stream", "lines"):
        with pytest.raises(DataError, match=r"a\.txt line 4: is not UTF-8 text; save the file as UTF-8"):
            index(write(tmp_path, b"abc\r\ncde\nfg\nhi\xe9\njkl\n"), kind)
    for content in (b"", b"\xef\xbb\xbf"):
        with pytest.raises(DataError, match=r"a\.txt is empty"):
            open_text(write(tmp_path, content), "stream")
    with pytest.raises(DataError, match=r"none\.txt cannot be read \(No such file"):
        open_text(str(tmp_path / "none.txt"), "stream")
    with pytest.raises(DataError, match=r"a\.txt line 3: has 2 tabs"):
        index(write(tmp_path, b"a\tb\nccccccccc\td\n\t\t\n"), "tabs")


class Counted(io.FileIO):
    """A file that adds up the bytes that are read."""

    read_bytes = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        Counted.read_bytes += count or 0
        return count


@pytest.mark.parametrize("kind", ["documents", "lines", "tabs"])
@pytest.mark.parametrize("lines", [1, 3])
def test_long_lines_are_read_once(tmp_path: Path, kind: str, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once to find where lines begin, once with each pass over the lines; quadratic reading would be 30 times as
    much.
    """
    monkeypatch.setattr(text_pieces, "PIECE_BYTES", 50_000)
    monkeypatch.setattr(text_pieces, "_BLOCK_BYTES", 10_000)
    line = "x" * 1_500_000 + "\t" + "y" * 1_500_000
    path = write(tmp_path, "\n".join(["a\tb", *[line] * lines, "c\td"]).encode())
    monkeypatch.setattr(Path, "open", lambda self, mode: io.BufferedReader(Counted(self)))
    Counted.read_bytes = 0
    size, source = Path(path).stat().st_size, index(path, kind)
    assert source.units == lines + 2 and Counted.read_bytes < 2.5 * size
    assert [len(entry) for entry in source.entries(0, source.units)] == [3, *[len(line)] * lines, 3]
    assert Counted.read_bytes < 3.7 * size


def test_a_file_that_changes_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, b"one two")
    source = index(path)
    write(tmp_path, b"one too")
    with pytest.raises(DataError, match=r"a\.txt changed while it was read"):
        list(source.read(0, 7))


def test_memory_is_one_piece() -> None:
    pairs = Memory("m", [("a", "bc"), ("", "d")])
    source = Indexed(pairs, count_pieces([(pairs, 0)]))
    assert list(source.entries(1, 2)) == [("", "d")] and source.characters(0, 2) == 4 and re.match("m", source.name)

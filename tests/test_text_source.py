from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data.sample_text import sample_text
from trainer.data.text_source import SourceText, read_text, split_documents
from trainer.errors import DataError


def write(tmp_path: Path, content: bytes, name: str = "a.txt") -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


def test_marks_and_line_ends_are_cleaned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trainer")
    path = write(tmp_path, "\ufeffé\r\nb\rc\n\u2028d\r\n".encode())
    assert read_text(path) == SourceText(path, "é\nb\rc\n\u2028d\n")
    assert "a.txt: 2 lines end with CR LF" in caplog.text


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt line 2: is no UTF-8 text; save the file as UTF-8"):
        read_text(write(tmp_path, b"a\n\xe9\n"))
    for content in (b"", b"\xef\xbb\xbf"):
        with pytest.raises(DataError, match=r"a\.txt is empty"):
            read_text(write(tmp_path, content))
    with pytest.raises(DataError, match=r"none\.txt cannot be read \(No such file"):
        read_text(str(tmp_path / "none.txt"))


def test_each_stream_is_split_by_characters() -> None:
    given = {"train": [SourceText("a", "0123456789"), SourceText("b", "é" * 20)], "validation": [], "test": []}
    found = split_documents(given, "stream", ("0.7", "0.1", "0.2"))
    assert found == {"train": ["0123456", "é" * 14], "validation": ["7", "é" * 2], "test": ["89", "é" * 4]}
    assert split_documents(given, "stream", ("8", "2")) == {"train": ["01234567", "é" * 8], "validation": ["89", "é" * 2]}
    with pytest.raises(DataError, match="a has 10 characters, --splits=18,2 needs 20"):
        split_documents(given, "stream", ("18", "2"))


def test_lines_are_documents_and_blank_ones_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trainer")
    text = SourceText("a", "one\n\n two\u2028x\n \t\nthree\nfour")
    assert split_documents({"train": [text]}, "lines", ("0.5", "0.5")) == {"train": ["one", " two\u2028x"], "validation": ["three", "four"]}
    assert "a: 2 blank lines were skipped" in caplog.text
    with pytest.raises(DataError, match="a has 4 documents, too few for the validation split"):
        split_documents({"train": [text]}, "lines", ("0.9", "0.01"))
    with pytest.raises(DataError, match="b holds blank lines only"):
        split_documents({"train": [text], "test": [SourceText("b", "\n \n")]}, "lines", ("1",))


def test_files_of_their_own() -> None:
    given = {"train": [SourceText("a", "0123456789")], "validation": [SourceText("b", "vv")], "test": [SourceText("c", "t")]}
    assert split_documents(given, "stream", ("0.7", "0.1", "0.2")) == {"train": ["0123456789"], "validation": ["vv"], "test": ["t"]}


def test_the_sample_is_english() -> None:
    text = sample_text().text
    assert len(text) > 200_000 and text == sample_text().text
    assert text.lower().count(" the ") > 1000 and "\r" not in text

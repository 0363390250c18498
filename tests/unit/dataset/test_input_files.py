from __future__ import annotations

import os
from pathlib import Path

import pytest
from configured import prepare_config

from trainer.dataset import input_files
from trainer.dataset.input_files import find_files, find_split_files, not_utf8, readable, undecodable_line
from trainer.errors import DataError, LocationError


def test_find_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    names = [str(tmp_path / name) for name in ("b.csv", "a.csv", "deep/c.csv", "odd[1].csv")]
    for name in names:
        Path(name).touch()
    assert find_files([names[0], f"{tmp_path}/?.csv"]) == [names[0], names[1]]
    assert find_files([f"{tmp_path}/**/c.csv", names[3]]) == [names[2], names[3]]
    with pytest.raises(DataError, match=r".*/x\*\.csv names no file"):
        find_files([names[0], f"{tmp_path}/x*.csv"])
    with pytest.raises(DataError, match="is a directory"):
        find_files([str(tmp_path)])
    with pytest.raises(LocationError, match=r"s3://bucket/a\.csv is neither a local path"):
        find_files(["s3://bucket/a.csv"])


def test_a_file_belongs_to_one_split(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    given = {"task": "language_model", "source": "text", "output_dir": "out"}
    found = find_split_files(prepare_config(**given, input=(str(path),)))
    assert found == {"train": [str(path)], "validation": [], "test": []}
    with pytest.raises(LocationError, match="is named twice or in two splits"):
        find_split_files(prepare_config(**given, input=(str(path),), test_input=(f"{tmp_path}/./a.txt", str(path))))


def test_undecodable_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é\n\n".encode() + b"a\xff\nb")
    assert undecodable_line(str(tmp_path / "a.txt")) == 3


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize(
    "content",
    [
        b"\n\xc3\xa9\n\xf0\x9f\n",
        b"\n\xc3\xa9\n\xf0\x9f",
        "é\n\n".encode() + b"\xc3",
        "ab\nç\n".encode() + b"\xff\n\xff",
    ],
)
def test_undecodable_line_by_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, content: bytes
) -> None:
    monkeypatch.setattr(input_files, "_BLOCK_BYTES", block)
    (tmp_path / "a.txt").write_bytes(content)
    assert undecodable_line(str(tmp_path / "a.txt")) == 3


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_an_encoding_is_told_by_its_byte_order_mark(tmp_path: Path, encoding: str, order: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé\n".encode(f"{encoding}-{order}"))
    assert str(not_utf8(str(path))).startswith(
        f"{path} is {encoding.upper()} text, by its byte order mark; save the file as UTF-8"
    )
    path.write_bytes(b"\xff")
    assert str(not_utf8(str(path))) == f"{path} line 1: is not UTF-8 text; save the file as UTF-8"


def test_names_of_files_that_are_no_utf8() -> None:
    assert readable(os.fsdecode(b"caf\xe9.csv")) == "caf\ufffd.csv"
    assert readable("café.csv") == "café.csv"

"""Files that people really have, and worse ones: a right dataset or one line that names the file, never a traceback."""

from __future__ import annotations

import csv
import datetime
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trainer.cli import flags
from trainer.dataset.schema import Manifest
from trainer.errors import DataError, TrainerError
from trainer.prepare import prepare
from trainer.tasks import datasets, registry
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.forecast.data.csv_series import RawSeries, read_csv
from trainer.tasks.seq2seq.source import align
from trainer.text.text_pieces import Indexed, count_pieces, open_text

often = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
seldom = settings(often, max_examples=20)

NUMBERS = st.one_of(st.none(), st.integers(-(10**6), 10**6).map(float), st.floats(-(2.0**100), 2.0**100, width=32))
TABLES = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(NUMBERS, min_size=columns, max_size=columns), min_size=2, max_size=9)
)
DIALECTS = st.fixed_dictionaries(
    {
        "end": st.sampled_from(["\n", "\r\n", "\r"]),
        **{name: st.booleans() for name in ("mark", "quote", "last", "dates")},
    }
)
KINDS = st.sampled_from(["char", "byte", "word"])
# Bytes that break readers, put anywhere.
POISON = st.sampled_from(
    [
        *(
            b"\x00",
            b"\xff",
            b"\xc3",
            b"\x1a",
            b"\xef\xbb\xbf",
            b"\xe2\x80\xa8",
            b"\r",
            b"\r\n",
            b"\n",
            b"\t",
            b" ",
            b"\\",
            b"#",
        ),
        *(
            b'"',
            b'""',
            b",",
            b";",
            b"'",
            b"inf",
            b"nan",
            b"-nan",
            b"1,5",
            b"1e400",
            b"1_000",
            b"--",
            b"2020-01-01",
            b"9" * 400,
            b"0x10",
        ),
    ]
)


def place(tmp_path: Path, name: str, content: bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def rendered(table: list[list[float | None]], dialect: dict[str, Any]) -> bytes:
    """The table as one of the many kinds of CSV."""
    out = io.StringIO()
    writer = csv.writer(
        out, quoting=csv.QUOTE_ALL if dialect["quote"] else csv.QUOTE_MINIMAL, lineterminator=dialect["end"]
    )
    first = datetime.datetime(2024, 2, 27, 22)
    names = [f"column, {index}" for index in range(len(table[0]))]
    writer.writerow([*(["when"] if dialect["dates"] else []), *names])
    for number, row in enumerate(table):
        cells = ["NA" if value is None else repr(value) for value in row]
        writer.writerow([*([str(first + number * datetime.timedelta(hours=1))] if dialect["dates"] else []), *cells])
    text = out.getvalue() if dialect["last"] else out.getvalue().removesuffix(dialect["end"])
    return (b"\xef\xbb\xbf" if dialect["mark"] else b"") + text.encode()


def told(error: DataError, path: str) -> str:
    """The error's text, which must be one line that begins with the file."""
    text = str(error)
    assert text.startswith(path) and text.isprintable(), text
    return text


@often
@given(table=TABLES, dialect=DIALECTS)
def test_a_right_table_in_any_dialect_is_read_right(
    tmp_path: Path, table: list[list[float | None]], dialect: dict[str, Any]
) -> None:
    series = read_csv(place(tmp_path, "a.csv", rendered(table, dialect)))
    expected = np.array([[np.nan if value is None else value for value in row] for row in table], np.float32)
    np.testing.assert_array_equal(series.values, expected)
    assert series.columns == tuple(f"column, {index}" for index in range(len(table[0])))
    assert (series.times is not None) == dialect["dates"]


@often
@given(table=TABLES, dialect=DIALECTS, data=st.data())
def test_a_wrong_cell_is_named_by_its_line(
    tmp_path: Path, table: list, dialect: dict[str, Any], data: st.DataObject
) -> None:
    wrong = data.draw(
        st.sampled_from(
            ["inf", "-Infinity", "1e39", "1,5", "1.000,5", "x", "1\x002", "1_0", '"', "12h", "\ufeff1", "--"]
        )
    )
    row, column = data.draw(st.integers(0, len(table) - 1)), data.draw(st.integers(0, len(table[0]) - 1))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=dialect["end"])
    writer.writerow([f"c{index}" for index in range(len(table[0]))])
    for number, cells in enumerate(table):
        writer.writerow([wrong if (number, index) == (row, column) else "1" for index in range(len(cells))])
    path = place(tmp_path, "a.csv", out.getvalue().encode())
    with pytest.raises(DataError) as caught:
        read_csv(path)
    assert f"line {row + 2}, column 'c{column}': " in told(caught.value, path)


@often
@given(order=st.lists(st.integers(0, 6), min_size=2, max_size=7))
def test_times_that_repeat_or_fall_are_named(tmp_path: Path, order: list[int]) -> None:
    wrong = [index for index in range(1, len(order)) if order[index] <= order[index - 1]]
    lines = [f"2024-02-{25 + day:02d},{day}" if day < 5 else f"2024-03-{day - 4:02d},{day}" for day in order]
    path = place(tmp_path, "a.csv", "\n".join(["date,a", *lines]).encode())
    if wrong:
        with pytest.raises(DataError) as caught:
            read_csv(path)
        assert f"line {wrong[0] + 2}: the time " in told(caught.value, path)
        return
    try:
        series = read_csv(path)
    except DataError as error:  # steps that fit no grid
        assert re.search(r"line \d+: the time .* lies off the grid", told(error, path))
        return
    there = series.values[~np.isnan(series.values)]
    assert there.tolist() == order
    assert series.times is not None and len(set(np.diff(series.times))) == 1


@often
@given(table=TABLES, dialect=DIALECTS, poison=POISON, data=st.data())
def test_poison_anywhere_in_a_table(
    tmp_path: Path, table: list, dialect: dict[str, Any], poison: bytes, data: st.DataObject
) -> None:
    content = rendered(table, dialect)
    at = data.draw(st.integers(0, len(content)))
    check_csv(place(tmp_path, "a.csv", content[:at] + poison + content[at:]))


@often
@given(
    content=st.one_of(
        st.binary(max_size=60), st.text("0123456789.,;\n\r\"'- :e\x00\tdnai\ufeffT/", max_size=80).map(str.encode)
    )
)
def test_any_bytes_as_a_table(tmp_path: Path, content: bytes) -> None:
    check_csv(place(tmp_path, "a.csv", content))


def check_csv(path: str) -> None:
    try:
        series = read_csv(path)
    except DataError as error:
        told(error, path)
        return
    assert series.values.dtype == np.float32 and not np.isinf(series.values).any()
    assert series.values.shape[1] == len(series.columns) == len(set(series.columns)) > 0
    assert series.times is None or len(series.times) == len(series.values)
    check_against_csv_module(path, series)


def check_against_csv_module(path: str, series: RawSeries) -> None:
    """Every observed value stands in the file, in its column and order."""
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    for column, name in enumerate(series.columns):
        index = [entry.strip() for entry in header].index(name)
        found = series.values[:, column]
        cells = [row[index].strip() for row in rows]
        expected = [float(cell) for cell in cells if re.search(r"\d", cell)]
        assert found[~np.isnan(found)].tolist() == np.array(expected, np.float32).tolist()


@pytest.mark.parametrize("tail", ["\x00\x00\x00", " 00:00:00x"])
def test_a_date_with_a_tail_is_no_date(tmp_path: Path, tail: str) -> None:
    # numpy drops NUL bytes at the end of a text, so that 2020-02 would pass for a date of ten characters.
    path = place(tmp_path, "a.csv", f"date,a\n2020-01-01,1\n2020-02{tail},2\n".encode())
    with pytest.raises(DataError, match="line 3, column 'date'"):
        read_csv(path)


TEXTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.one_of(POISON, st.text("ab \n", max_size=8).map(str.encode)), max_size=8).map(b"".join),
)


@often
@given(content=TEXTS)
def test_any_bytes_as_text(tmp_path: Path, content: bytes) -> None:
    path = place(tmp_path, "a.txt", content)
    try:
        text = read_text(path)
    except DataError as error:
        check_refused(told(error, path), content)
    else:
        assert b"\0" not in content and text.encode() == content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")


def check_refused(text: str, content: bytes) -> None:
    """A file was refused for what is wrong with it, and at the place where it is."""
    lines = content.split(b"\n")
    if line := re.search(r"line (\d+): is not UTF-8", text):
        assert all(not is_bad(lines[index]) for index in range(int(line[1]) - 1)) and is_bad(lines[int(line[1]) - 1])
    elif nul := re.search(r"line (\d+): has .*\bbyte (\d+)[ )].*iconv -f UTF-(16|32)", text):
        before = content[: int(nul[2]) - 1]
        assert content[int(nul[2]) - 1] == 0 not in before and before.count(b"\n") == int(nul[1]) - 1
    elif "by its byte order mark" in text:
        assert content.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
    else:
        assert content in (b"", b"\xef\xbb\xbf")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("kind", ["language_model", "seq2seq"])
def test_wide_text_without_a_byte_order_mark(tmp_path: Path, encoding: str, kind: str) -> None:
    path = place(tmp_path, "a.txt", "To be, or not to be\tthat is the question:\n".encode(encoding) * 40)
    source = "text" if kind == "language_model" else "pairs"
    found = whole(tmp_path, f"--task={kind}", f"--source={source}", f"--input={path}")
    wide, order = encoding[4:6], encoding[-2:].upper()
    first = 1 if order == "BE" else 2
    assert isinstance(found, DataError)
    assert str(found) == (
        f"{path} line 1: has NUL bytes (the first is byte {first}) as UTF-{wide}{order} text without a byte order "
        "mark has them;"
        f" save the file as UTF-8 (iconv -f UTF-{wide}{order} -t UTF-8)"
    )


def test_a_nul_byte_far_into_a_file_is_placed(tmp_path: Path) -> None:
    content = b"all is well\n" * 200_000 + b"but\0here\n"
    path = place(tmp_path, "a.txt", content)
    found = whole(tmp_path, "--task=language_model", "--source=text", f"--input={path}")
    assert isinstance(found, DataError)
    assert str(found).startswith(
        f"{path} line 200001: has a NUL byte (byte {content.index(0) + 1} of the file), which no text has; "
    )


def index(kind: str, path: str) -> list[Indexed]:
    file = open_text(path, kind)
    return [Indexed(file, count_pieces([(file, piece) for piece in range(file.pieces)]))]


def read_text(path: str) -> str:
    (source,) = index("stream", path)
    return "".join(map(str, source.read(0, source.units)))


def is_bad(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


@often
@given(content=TEXTS)
def test_any_bytes_as_pairs_with_tabs(tmp_path: Path, content: bytes) -> None:
    path = place(tmp_path, "a.tsv", content)
    try:
        pairs = list(align(index("tabs", path), "input", False).pairs())
    except DataError as error:
        text = told(error, path)
        if number := re.search(r"line (\d+): has (\d+) tabs", text):
            line = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")[int(number[1]) - 1]
            assert line.count(b"\t") == int(number[2]) != 1
    else:
        lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
        both = [f"{source}\t{target}".encode() for source, target in pairs]
        assert [line or b"\t" for line in lines] == both


def whole(tmp_path: Path, *arguments: str) -> tuple[Manifest, dict[str, Any]] | TrainerError:
    """Prepares and reads back what was written; an error must be one line of those that are meant for people."""
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    try:
        prepare(
            flags.parse(
                PrepareConfig, [*arguments, f"--output_dir={out}", "--splits=1", "--num_shards=2", "--num_processes=1"]
            )
        )
    except TrainerError as error:
        assert error.exit_code in (64, 65) and "\n" not in str(error)
        assert not out.exists()
        return error
    written = datasets.read(str(out))
    return written, registry.part(written.task, "inspection").inspect(str(out), written, 1000)


@seldom
@given(content=TEXTS, documents=st.sampled_from(["stream", "lines"]), tokenizer=KINDS)
def test_any_bytes_as_a_text_dataset(tmp_path: Path, content: bytes, documents: str, tokenizer: str) -> None:
    path = place(tmp_path, "a.txt", content)
    kind = ["--task=language_model", "--source=text", f"--documents={documents}", f"--tokenizer={tokenizer}"]
    found = whole(tmp_path, *kind, f"--input={path}")
    if isinstance(found, TrainerError):
        assert found.exit_code == 65 and path in str(found)
        return
    text = read_text(path)
    expected = [text] if documents == "stream" else [line for line in text.split("\n") if line.strip()]
    shown = [
        example["text"].rstrip("\ufffd") for example in found[1]["examples"]["train"]
    ]  # cut by tokens: within a character, if bytes
    assert [one[: len(two)] for one, two in zip(expected, shown)] == shown and len(shown) == len(expected)


@seldom
@given(
    lines=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=5),
    tokenizer=KINDS,
)
def test_any_lines_as_a_pair_dataset(tmp_path: Path, lines: list[tuple[str, str]], tokenizer: str) -> None:
    assume(not any(set("\n\r\ufeff\0") & set(source + target) for source, target in lines))
    paths = [
        place(tmp_path, f"a.{side}", "".join(f"{line[side]}\n" for line in lines).encode("utf-8", "replace"))
        for side in (0, 1)
    ]
    found = whole(
        tmp_path, "--task=seq2seq", "--source=pairs", f"--tokenizer={tokenizer}", f"--input={','.join(paths)}"
    )
    assert not isinstance(found, TrainerError), found
    expected = [
        {"source": source.encode("utf-8", "replace").decode(), "target": target.encode("utf-8", "replace").decode()}
        for source, target in lines
    ]
    assert found[1]["examples"]["train"] == expected


@seldom
@given(table=TABLES, dialect=DIALECTS, poison=POISON, data=st.data())
def test_any_table_as_a_dataset(
    tmp_path: Path, table: list, dialect: dict[str, Any], poison: bytes, data: st.DataObject
) -> None:
    content = rendered(table, dialect)
    at = data.draw(st.integers(0, len(content)))
    path = place(tmp_path, "a.csv", content[:at] + poison + content[at:])
    found = whole(tmp_path, "--task=forecast", "--source=csv", f"--input={path}")
    if isinstance(found, TrainerError):
        assert found.exit_code == 65 and path in str(found)
        return
    series = read_csv(path)
    observed = ~np.isnan(series.values)
    assert [entry["observed"] for entry in found[1]["series"]] == observed.sum(axis=0).tolist()
    for column, entry in enumerate(found[1]["series"]):
        own = series.values[observed[:, column], column]
        assert (entry["min"], entry["max"]) == ((float(own.min()), float(own.max())) if len(own) else (None, None))


@pytest.mark.parametrize(
    "content", [b"\x00", b"a\x00b\n" * 40, b" \n" * 9, b"\xe2\x96\x81" * 9, b"\t", "é\u0301\u2028".encode() * 9]
)
def test_odd_text_for_sentencepiece(tmp_path: Path, content: bytes) -> None:
    path = place(tmp_path, "a.txt", content)
    kind = ["--task=language_model", "--source=text", "--tokenizer=sentencepiece", "--vocab_size=9"]
    found = whole(tmp_path, *kind, f"--input={path}")
    if not isinstance(found, TrainerError):
        text = read_text(path).replace("\u2581", " ")
        shown = found[1]["examples"]["train"][0]["text"]
        assert shown == text[: len(shown)] or "\ufffd" in shown

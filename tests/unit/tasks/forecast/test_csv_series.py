"""Good CSV files read right, bad ones named by file, line and column."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import DataError
from trainer.tasks.forecast.data import csv_series
from trainer.tasks.forecast.data.csv_series import RawSeries, read_csv
from trainer.tasks.forecast.data.intervals import Interval

NAN = float("nan")
DATED = "date,a,b\n2020-01-01 00:00:00,1,2\n2020-01-01 01:00:00,3.5,-4e2\n2020-01-01 02:00:00, 5 ,6\n"


def read(tmp_path: Path, content: str | bytes, **settings: object) -> RawSeries:
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(str(path), **settings)  # type: ignore[arg-type]


def test_a_dated_file(tmp_path: Path) -> None:
    series = read(tmp_path, DATED)
    assert (series.name, series.columns, series.interval) == ("a", ("a", "b"), Interval(3600, "second"))
    assert series.values.dtype == np.float32
    assert series.values.tolist() == [[1, 2], [3.5, -400], [5, 6]]
    assert series.times is not None
    assert series.times.dtype == np.int64
    assert series.times.tolist() == [1577836800, 1577840400, 1577844000]


def test_byte_order_mark_and_windows_lines_change_nothing(tmp_path: Path) -> None:
    plain = read(tmp_path, DATED)
    other = read(tmp_path, b"\xef\xbb\xbf" + DATED.replace("\n", "\r\n").encode() + b"\r\n")
    assert other.columns == plain.columns
    assert other.values.tolist() == plain.values.tolist()


def test_dates_ignored_named_or_absent(tmp_path: Path) -> None:
    ignored = read(tmp_path, DATED, date_column="none")
    assert (ignored.columns, ignored.times, ignored.interval) == (("a", "b"), None, None)
    named = read(tmp_path, "a,when\n1,2020-01\n2,2020-02\n", date_column="when")
    assert (named.columns, named.interval, named.values.tolist()) == (("a",), Interval(1, "month"), [[1], [2]])
    bare = read(tmp_path, "0,1\n1,2\n3,4\n")
    assert (bare.columns, bare.times, bare.values.tolist()) == (("0", "1"), None, [[1, 2], [3, 4]])
    assert read(tmp_path, "d,a\n2020-01-01,1\n", interval=Interval(60, "second")).interval == Interval(60, "second")


def test_missing_values_are_nan_and_nothing_else_is(tmp_path: Path) -> None:
    cells = [*csv_series.MISSING, "NULL", "na", " ", "0", "-1"]
    series = read(tmp_path, "a,b\n" + "".join(f"{cell},7\n" for cell in cells))
    np.testing.assert_array_equal(series.values[:, 0], [NAN] * (len(cells) - 2) + [0, -1])
    np.testing.assert_array_equal(series.values[:, 1], 7)


def test_rows_that_the_dates_lack_are_inserted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trainer")
    series = read(tmp_path, DATED + "2020-01-01 05:00:00,7,8\n")
    np.testing.assert_array_equal(series.values[3:], [[NAN, NAN], [NAN, NAN], [7, 8]])
    assert series.times is not None
    assert np.diff(series.times).tolist() == [3600] * 5
    assert "2 rows" in caplog.text


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_series, "BLOCK_ROWS", 3)
    series = read(tmp_path, "a,b\n" + "".join(f"{row},{-row}\n" + "\n" * (row % 3 == 0) for row in range(11)))
    assert series.values.tolist() == [[row, -row] for row in range(11)]
    with pytest.raises(DataError, match=r"a\.csv line 14, column 'b': 'x' is not a finite number"):
        read(
            tmp_path,
            "\na,b\n"
            + "".join(f"{row},{-row}\n" for row in range(5))
            + "\n"
            + "".join(f"{row},1\n" for row in range(5))
            + '"7",x\n',
        )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b\n", "has a header and no rows"),
        ("a,b\n1,2\n3\n", "line 3: has 1 fields, expected 2"),
        ("a,b\n1,2\n\n3,4,5\n", "line 4: has 3 fields, expected 2"),
        ("a,b\n1,2\n3,four\n", "line 3, column 'b': 'four' is not a finite number"),
        ("a,b\n1,2\n3,inf\n", "line 3, column 'b': 'inf' is not a finite number"),
        ("a,b\n1,2\n3,1e39\n", "line 3, column 'b': '1e39' is not a finite number"),
        ("a,b\n1,2\n3,1_000\n", "line 3, column 'b': '1_000' is not a finite number"),
        ("a,b\n1,2\n3,\x00\n", "line 3"),
        ("a,a\n1,2\n", "line 1: the column name 'a' is there 2 times"),
        ("a,\n1,2\n", "the name of column 2 is ''"),
        ("a;b\n1;2\n", "has no comma"),
        ("1.5,2.5\n1,2\n", "line 1 holds data"),
        ("2020-01-01,2\n2020-01-02,2\n", "line 1 holds data"),
        ("date\n2020-01-01\n", "no column of numbers"),
        ("a\n1\n\n2\n", "blank line"),
        ('a,b\n1,2\n3,"4\n', "is not a CSV"),
        (b"a,b\n1,2\n3,\xff\n", "line 3: is not UTF-8"),
        (DATED + "2020-01-01 02:30,1,2\n", "line 5: the time 2020-01-01 02:30:00 lies off the grid"),
        (DATED + "2020-01-01 02:00:00,1,2\n", "line 5: the time 2020-01-01 02:00:00 is there twice"),
        (DATED + "2019-01-01 02:00:00,1,2\n", "line 5: the time 2019-01-01 02:00:00 is before"),
        (DATED + "2106-01-01 02:00:00,1,2\n", "line 5: the time jumps 753864 steps"),
        (DATED + "soon,1,2\n", "line 5, column 'date': 'soon' is not a date"),
        ("date,a\n2020-01-01,1\n", "1 dated row"),
        (
            "date,a\n2020-01-01 00:00" + " " * 100_000 + "x,1\n",
            "'2020-01-01 00:00" + " " * 24 + "…' is not a finite number",
        ),
        ("date,a\n2020-01-01,1\n2020-01-02 00:00" + " " * 100_000 + "x,1\n", "is not a date"),
        ("a," + "b" * 50_000 + "\n1,x\n", "line 2, column '" + "b" * 40 + "…'"),
        (b"\xff\xfea\x00,\x00b\x00\n\x00", "is UTF-16 text, by its byte order mark"),
    ],
)
def test_bad_files(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "a.csv"))
    assert told in text
    assert "\n" not in text


def test_an_unknown_date_column_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'when'.*date, a, b"):
        read(tmp_path, DATED, date_column="when")
    with pytest.raises(DataError, match=r"none\.csv cannot be read \(No such file"):
        read_csv(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match=r"takes auto, none or one of '\.\\x00a'$"):
        read(tmp_path, ".\x00a\n1\n", date_column="when")


def test_ten_thousand_columns_and_one_row(tmp_path: Path) -> None:
    names = ",".join(f"c{index}" for index in range(10_000))
    cells = [[str(index % 97 + row) for index in range(10_000)] for row in range(3)]
    series = read(tmp_path, "\n".join([names, *map(",".join, cells)]))
    assert series.values.tolist() == [[float(cell) for cell in row] for row in cells]
    assert read(tmp_path, f"{names}\n{','.join(cells[0])}").values.shape == (1, 10_000)
    with pytest.raises(DataError, match=r"line 1: the column name 'c7' is there 2 times"):
        read(tmp_path, f"{names},c7\n")


def test_wide_tables_are_read_by_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_series, "BLOCK_CELLS", 10)
    blocks = csv_series._row_blocks("a", iter([[str(row)] * 3 for row in range(7)]), 3)
    assert [[row[0] for row in rows] for rows in blocks] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


@pytest.mark.parametrize(
    "line", [b"1" * 10**8, b"1," * (5 * 10**7), b",\xff" * (5 * 10**7)], ids=["one field", "fields", "no text"]
)
def test_a_line_of_100_mb_is_told_and_takes_little_memory(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n" + line + b"\n3,4\n")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"a\.csv line 3: (is longer than \d+ characters|is not UTF-8)"):
            read_csv(str(tmp_path / "a.csv"))
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()

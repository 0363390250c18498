"""Reads a CSV file of numeric columns, with or without a column of dates, into one `RawSeries`."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np

from trainer.dataset.input_files import not_utf8, readable
from trainer.errors import DataError
from trainer.tasks.forecast.data import intervals
from trainer.tasks.forecast.data.intervals import Interval

BLOCK_ROWS = 4096
BLOCK_CELLS = 1 << 20  # of wide tables, fewer rows: a block's texts take far more memory than its numbers
LONGEST_LINE = 1 << 24  # characters; a row of a million columns has fewer
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "null", "None", "-")  # a missing value, in any case of letters
_MISSING = frozenset(text.lower() for text in MISSING)

_LARGEST = float(np.finfo(np.float32).max)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownValues:
    """Columns that are known for the future too, beside the series: `values` float32 [rows, columns], NaN where
    missing.
    """

    columns: tuple[str, ...]
    values: np.ndarray


@dataclass(frozen=True)
class RawSeries:
    """Series that share a time axis, as their source gives them."""

    name: str
    columns: tuple[str, ...]
    values: np.ndarray  # float32 [rows, columns], NaN where missing
    times: np.ndarray | None  # int64 [rows], Unix seconds, every step of the grid; None without dates
    interval: Interval | None  # None without dates
    source: str = ""  # file, for errors
    known: KnownValues | None = None
    static: Mapping[str, str] = dataclasses.field(default_factory=dict)  # column -> its one text


def read_csv(
    path: str,
    date_column: str = "auto",
    interval: Interval | None = None,
    known_columns: Sequence[str] = (),
    static_covariates: Sequence[str] = (),
) -> RawSeries:
    """Reads one CSV file: a header, then rows of numbers; UTF-8, comma-separated.

    Cells that hold one of `MISSING` are missing values. Dates become Unix seconds (UTC unless they carry an offset);
    rows that the grid of dates lacks are inserted as missing values. Blank lines are skipped.

    Args:
      path: the file.
      date_column: `auto` takes the first column where its first cell is a date; `none` leaves such a column out; else a
        name.
      interval: the interval that the dates must have; None infers it (two dated rows or more).
      known_columns: columns of numbers that are no series but known for the future too.
      static_covariates: columns that have one text in all rows.

    Raises:
      DataError: the file is missing, empty, no UTF-8, ragged, lacks a named column, has a line of more than
        LONGEST_LINE characters, holds text or an infinity where a number should be or two texts in a static column, or
        its dates repeat, fall or are irregular. The text names the file and the line.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_lines(path, file), strict=True)
            try:
                series = _read(path, reader, date_column, interval, static_covariates)
                return _with_known(series, known_columns) if known_columns else series
            except csv.Error as error:
                raise DataError(
                    f"{path} line {reader.line_num}: is not a CSV ({error}); check quotes and stray bytes there"
                ) from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None


def _lines(path: str, file: TextIO) -> Iterator[str]:
    """The lines of a file for `csv.reader`, which by itself would take one of any length into memory."""
    for number in itertools.count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            raise DataError(
                f"{path} line {number}: is longer than {LONGEST_LINE} characters; end each row by a line feed"
            )
        yield line


def _read(
    path: str, reader: Any, date_column: str, interval: Interval | None, static_covariates: Sequence[str]
) -> RawSeries:
    header = _header(path, reader)
    constant = {_index(path, header, name, "static_covariates"): "" for name in static_covariates}
    blocks: list[np.ndarray] = []
    time_blocks: list[np.ndarray] = []
    dates: int | None = None
    with_times = False
    numeric: list[int] = []
    first = 0
    for rows in _row_blocks(path, reader, len(header)):
        if first == 0:
            dates, with_times = _date_index(path, header, rows[0], date_column)
            numeric = [index for index in range(len(header)) if index != dates and index not in constant]
            _check_names(path, header, numeric)
            constant = {index: rows[0][index].strip() for index in constant}
        columns = list(zip(*rows))
        for index, text in constant.items():
            _check_constant(path, first, header[index], columns[index], text)
        blocks.append(np.stack([_column(path, first, header[index], columns[index]) for index in numeric], axis=1))
        if with_times and dates is not None:
            time_blocks.append(_times(path, first, header[dates], columns[dates]))
        first += len(rows)
    if first == 0:
        raise DataError(f"{path} has a header and no rows; add the data")
    names = tuple(header[index] for index in numeric)
    values = np.concatenate(blocks)
    name = readable(Path(path).stem)
    static = {header[index]: text for index, text in constant.items()}
    if not with_times:
        return RawSeries(name, names, values, None, None, path, static=static)
    return dataclasses.replace(
        _on_grid(path, name, names, values, np.concatenate(time_blocks), interval), static=static
    )


def _with_known(series: RawSeries, known_columns: Sequence[str]) -> RawSeries:
    """The series with those columns apart."""
    known = [_index(series.source, series.columns, name, "future_covariates") for name in known_columns]
    targets = [index for index in range(len(series.columns)) if index not in known]
    if not targets:
        raise DataError(
            f"{series.source} has no column to forecast beside the known ones; leave one out of --future_covariates"
        )
    columns = tuple(series.columns[index] for index in targets)
    return dataclasses.replace(
        series,
        columns=columns,
        values=series.values[:, targets],
        known=KnownValues(tuple(known_columns), series.values[:, known]),
    )


def _index(path: str, columns: Sequence[str], name: str, flag: str) -> int:
    if name not in columns:
        raise DataError(f"{path} has no column {name!r} of --{flag}; it has {', '.join(columns)[:200]}")
    return columns.index(name)


def _check_constant(path: str, first: int, name: str, cells: Sequence[str], text: str) -> None:
    """Raises DataError unless every cell of a static column has the text of the first row, and it is one."""
    if text.lower() in _MISSING:
        _fail(path, first, "is empty; a static column has one text in all rows", name)
    odd = next((row for row, cell in enumerate(cells) if cell.strip() != text), None)
    if odd is not None:
        reason = f"{_shown(cells[odd])} differs from {_shown(text)} of the first row"
        _fail(
            path,
            first + odd,
            f"{reason}; a static column has one text a file: split the file, or leave the column out",
            name,
        )


def _header(path: str, reader: Any) -> list[str]:
    fields = next((fields for fields in reader if fields), None)
    if fields is None:
        raise DataError(f"{path} is empty; give a header line and rows of numbers")
    header = [name.strip() for name in fields]
    [(often, times)] = Counter(header).most_common(1)
    if times > 1:
        raise DataError(
            f"{path} line {reader.line_num}: the column name {_shown(often)} is there {times} times; give each its own"
        )
    if len(header) == 1 and any(separator in header[0] for separator in ";\t|"):
        raise DataError(
            f"{path} line {reader.line_num}: the header {_shown(header[0])} has no comma; separate fields by commas"
        )
    return header


def _check_names(path: str, header: Sequence[str], numeric: Sequence[int]) -> None:
    if not numeric:
        raise DataError(f"{path} has no column of numbers beside the dates; add one")
    for index in numeric:
        if not header[index] or not header[index].isprintable():
            raise DataError(
                f"{path}: the name of column {index + 1} is {_shown(header[index])}; name it, or remove the column"
            )
    # Whole numbers are usual column names, a date or a row of decimals is not: that is data without a header.
    if intervals.is_time(header[0]) or ("." in "".join(header) and all(_is_number(name) for name in header)):
        raise DataError(
            f"{path} line {_line_of(path, -1)} holds data where column names should be; put a header line before it"
        )


def _row_blocks(path: str, reader: Any, width: int) -> Iterator[list[list[str]]]:
    """Yields the rows by blocks, blank lines left out, each of `width` fields."""
    most = max(1, min(BLOCK_ROWS, BLOCK_CELLS // width))
    rows: list[list[str]] = []
    first = 0
    blank = False
    for fields in reader:
        if not fields:
            blank = True
            continue
        if blank and width == 1:
            # Skipping it would shift all later rows by one step, where a missing value may be meant.
            raise DataError(
                f"{path} has a blank line among its rows; with one column write NA for a missing value, or delete the "
                "line"
            )
        if len(fields) != width:
            _fail(
                path,
                first + len(rows),
                f"has {len(fields)} fields, expected {width} as in the header; add or remove fields",
            )
        rows.append(fields)
        if len(rows) == most:
            yield rows
            first += most
            rows = []
    if rows:
        yield rows


def _date_index(path: str, header: Sequence[str], row: Sequence[str], date_column: str) -> tuple[int | None, bool]:
    """Which column holds dates and so no numbers, and whether they are wanted."""
    if date_column in ("auto", "none"):
        return (0, date_column == "auto") if intervals.is_time(row[0]) else (None, False)
    if date_column not in header:
        raise DataError(
            f"{path} has no column {date_column!r}; --date_column takes auto, none or one of "
            f"{_shown(', '.join(header), 200)}"
        )
    return header.index(date_column), True


def _number(cell: str) -> float:
    """The value of one cell, NaN where missing; ValueError where it is not a finite number in 32 bits."""
    text = cell.strip()
    if text.lower() in _MISSING:
        return math.nan
    value = float(text)
    if "_" in text or abs(value) > _LARGEST:  # Python would read 1_000 as 1000
        raise ValueError(text)
    return value


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(_number(text))
    except ValueError:
        return False


def _column(path: str, first: int, name: str, cells: Sequence[str]) -> np.ndarray:
    """The numbers of a block of one column, float32; its first row is row `first` of the file."""
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
        # A NaN fails the comparison too: it is looked at again below, as is what must be refused.
        if bool(np.all(np.abs(values) <= _LARGEST)) and "_" not in "".join(cells):
            return values.astype(np.float32)
    except ValueError:
        pass
    parsed = np.empty(len(cells), np.float32)
    for row, cell in enumerate(cells):
        try:
            parsed[row] = _number(cell)
        except ValueError:
            _fail(
                path,
                first + row,
                f"{_shown(cell)} is not a finite number; correct it, or write NA if it is missing",
                name,
            )
    return parsed


def _times(path: str, first: int, name: str, cells: Sequence[str]) -> np.ndarray:
    try:
        return intervals.parse_times(cells)
    except intervals.TimeTextError as error:
        _fail(path, first + error.row, f"{_shown(error.text)} is not a date; write dates as 2016-07-01 00:00:00", name)


def _on_grid(
    path: str, name: str, columns: tuple[str, ...], values: np.ndarray, times: np.ndarray, interval: Interval | None
) -> RawSeries:
    """The series with every step of its grid of dates; the steps that the file lacks are missing values."""

    def line_of(row: int) -> int:
        return _line_of(path, row)

    interval = interval or intervals.infer_interval(times, path, line_of)
    rows = intervals.rows_on_grid(times, interval, path, line_of)
    total = int(rows[-1]) + 1
    if total == len(rows):
        return RawSeries(name, columns, values, times, interval, path)
    if total > 10 * len(rows) + 10_000:  # one wrong year would otherwise fill the memory
        row = int(np.argmax(np.diff(rows))) + 1
        remedy = "correct the date, or ignore dates with --date_column=none"
        _fail(
            path, row, f"the time jumps {rows[row] - rows[row - 1]} steps of {intervals.describe(interval)}; {remedy}"
        )
    full = np.full((total, len(columns)), np.nan, np.float32)
    full[rows] = values
    _log.info("%s: %d rows that the dates lack were inserted as missing values", path, total - len(rows))
    return RawSeries(name, columns, full, intervals.grid_times(times, rows, interval), interval, path)


def _shown(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[:most] + "…")


def _fail(path: str, row: int, text: str, column: str | None = None) -> NoReturn:
    place = f"line {_line_of(path, row)}" + ("" if column is None else f", column {_shown(column)}")
    raise DataError(f"{path} {place}: {text}")


def _line_of(path: str, row: int) -> int:
    """The line of a row (-1 is the header), found by reading again: only errors need it."""
    with Path(path).open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.reader(file, strict=True)
        lines = (reader.line_num for fields in reader if fields)
        return next(itertools.islice(lines, row + 1, None))

"""The time axis of a series: dates to Unix seconds, the interval between rows, row numbers, times beyond the end."""

from __future__ import annotations

import datetime
import re
import string
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.errors import DataError

DAY = 86400
LineOf = Callable[[int], int]  # row number -> line of the file

_PLAIN = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?", re.ASCII)
_TIME = re.compile(
    r"(\d{4})[-/](\d\d?)(?:[-/](\d\d?)(?:[ T]+(\d\d?):(\d\d)(?::(\d\d)(?:\.0+)?)?\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?)?)?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Interval:
    """Distance of two neighbouring time steps: `count` seconds, or `count` calendar months."""

    count: int
    unit: str  # "second" or "month"


class TimeTextError(ValueError):
    """A text is not a time; `row` is its place in the sequence that was parsed."""

    def __init__(self, row: int, text: str):
        super().__init__(f"row {row}: {text!r} is not a time")
        self.row, self.text = row, text


def _line_after_header(row: int) -> int:
    return row + 2


def is_time(text: str) -> bool:
    """Whether `text` is a date or a date and time in a form that `parse_times` takes."""
    try:
        _parse_time(text)
    except ValueError:
        return False
    return True


def _parse_time(text: str) -> int:
    match = _TIME.fullmatch(text.strip(string.whitespace))
    if not match:
        raise ValueError(text)
    *numbers, zone = match.groups()
    year, month, day, hour, minute, second = (
        int(number) if number else default for number, default in zip(numbers, (0, 0, 1, 0, 0, 0))
    )
    moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc)
    offset = 0
    if zone and zone[0] in "+-":
        offset = int(zone[1:3]) * 3600 + int(zone[-2:] if len(zone) > 3 else 0) * 60
        offset = -offset if zone[0] == "-" else offset
    return int(moment.timestamp()) - offset


def parse_times(texts: Sequence[str]) -> np.ndarray:
    """Unix seconds, int64 of the length of `texts`.

    Takes ISO 8601 and its usual relatives: 2016-07, 2016-07-01, 2016/7/1 9:00, 2016-07-01 00:00:00,
    2016-07-01T00:00:00Z, +02:00 at the end. Times without an offset count as UTC.

    Raises:
      TimeTextError: a text is none of these, or finer than a second.
    """
    # numpy is ten times faster, but takes more ("today", "20160701" as a year): use it where all texts have one plain
    # form.
    if texts and _PLAIN.fullmatch(texts[0]) and set(map(len, texts)) == {len(texts[0])}:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what numpy only warns of, such as offsets, the exact way below handles
            try:
                times = np.array(texts, "datetime64[s]")
            except (ValueError, Warning):
                pass
            else:
                if not np.isnat(times).any():
                    return times.astype(np.int64)
    seconds = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        try:
            seconds[row] = _parse_time(text)
        except ValueError:
            raise TimeTextError(row, text) from None
    return seconds


def format_time(time: int) -> str:
    """`2016-07-01 00:00:00` (UTC) of Unix seconds."""
    return str(np.datetime64(int(time), "s")).replace("T", " ")


def describe(interval: Interval | None) -> str:
    """The interval in words, as in `3600 seconds` or `1 month`."""
    if interval is None:
        return "no dates"
    return f"{interval.count} {interval.unit}{'' if interval.count == 1 else 's'}"


def infer_interval(times: np.ndarray, source: str, line_of: LineOf = _line_after_header) -> Interval:
    """The distance of neighbouring rows: the most common one, in calendar months where that fits, else in seconds.

    Args:
      times: int64 Unix seconds, [T], T of 2 or more.
      source: the file, for errors.
      line_of: gives the line of the file that holds a row, for errors.

    Raises:
      DataError: fewer than two rows, or the times do not rise. (Whether all rows lie on the grid, `rows_on_grid`
        tells.)
    """
    if len(times) < 2:
        raise DataError(
            f"{source} has {len(times)} dated row, which shows no interval; give two rows or more, or "
            "--date_column=none"
        )
    _check_rising(times, source, line_of)
    common = _most_common(np.diff(times))
    if common >= 28 * DAY:  # else it is not a calendar month, whatever the day of the month
        months, odd = _calendar_months(times)
        if not odd.any():
            return Interval(_most_common(np.diff(months)), "month")
    return Interval(common, "second")


def rows_on_grid(
    times: np.ndarray, interval: Interval, source: str, line_of: LineOf = _line_after_header
) -> np.ndarray:
    """Row numbers of `times` on the grid that starts at the first of them: int64 [T], rising from 0.

    Raises:
      DataError: times that repeat, fall, or lie off the grid; the text names the file and the line.
    """
    _check_rising(times, source, line_of)
    if interval.unit == "month":
        months, odd = _calendar_months(times)
        rows, rest = np.divmod(months - months[0], interval.count)
        rest = rest + odd
    else:
        rows, rest = np.divmod(times - times[0], interval.count)
    if rest.any():
        row = int(np.argmax(rest != 0))
        raise DataError(
            f"{source} line {line_of(row)}: the time {format_time(times[row])} lies off the grid of "
            f"{describe(interval)} that starts at "
            f"{format_time(times[0])}; correct it, resample the file to equal steps, or ignore dates with "
            "--date_column=none"
        )
    return rows


def grid_times(times: np.ndarray, rows: np.ndarray, interval: Interval) -> np.ndarray:
    """Unix seconds of every row from the first to the last, int64 [rows[-1] + 1], those that `times` lacks included."""
    every = np.arange(int(rows[-1]) + 1, dtype=np.int64)
    if interval.unit == "second":
        return times[0] + every * interval.count
    months, day, second = _month_day_second(times)
    full = _from_months(months[0] + every * interval.count, int(day.max()), int(second[0]))
    full[rows] = times
    return full


def advance(last_time: int, steps: int, interval: Interval) -> np.ndarray:
    """The `steps` times that follow `last_time`: Unix seconds, int64 [steps].

    With months the day of the month and the time of day stay; a last day of a month is followed by last days.
    """
    following = np.arange(1, steps + 1, dtype=np.int64) * interval.count
    if interval.unit == "second":
        return last_time + following
    months, day, second = _month_day_second(np.array([last_time], np.int64))
    anchor = 31 if day[0] == _month_lengths(months)[0] else int(day[0])
    return _from_months(months[0] + following, anchor, int(second[0]))


def _check_rising(times: np.ndarray, source: str, line_of: LineOf) -> None:
    falling = np.flatnonzero(np.diff(times) <= 0)
    if not len(falling):
        return
    row = int(falling[0]) + 1
    shown = f"{source} line {line_of(row)}: the time {format_time(times[row])}"
    if times[row] == times[row - 1]:
        raise DataError(
            f"{shown} is there twice; delete one of the rows (local times repeat when summer time ends: write UTC or "
            "offsets)"
        )
    raise DataError(f"{shown} is before that of the row above, {format_time(times[row - 1])}; sort the file by time")


def _most_common(differences: np.ndarray) -> int:
    steps, counts = np.unique(differences, return_counts=True)
    return int(steps[np.argmax(counts)])  # the smallest one where several are as common


def _month_lengths(months: np.ndarray) -> np.ndarray:
    starts = months.astype("datetime64[M]").astype("datetime64[D]")
    return ((months + 1).astype("datetime64[M]").astype("datetime64[D]") - starts).astype(np.int64)


def _month_day_second(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Months since 1970-01, day of the month from 1, second of the day."""
    moments = times.astype("datetime64[s]")
    months = moments.astype("datetime64[M]")
    days = moments.astype("datetime64[D]")
    day = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    return months.astype(np.int64), day, times - days.astype(np.int64) * DAY


def _from_months(months: np.ndarray, day: int, second: int) -> np.ndarray:
    days = (
        months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        + np.minimum(day, _month_lengths(months))
        - 1
    )
    return days * DAY + second


def _calendar_months(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Months since 1970-01, and where day and time differ from the others' (the last day stands for days a month
    lacks).
    """
    months, day, second = _month_day_second(times)
    return months, _from_months(months, int(day.max()), int(second[0])) != times

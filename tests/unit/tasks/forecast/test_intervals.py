"""Dates to seconds, intervals, rows on the grid, times beyond the end."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.errors import DataError
from trainer.tasks.forecast.data import intervals
from trainer.tasks.forecast.data.intervals import Interval

HOUR = Interval(3600, "second")
MONTH = Interval(1, "month")


def seconds(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[s]").astype(np.int64)


@pytest.mark.parametrize(
    "text",
    [
        "2016-07-01 09:00:00",
        "2016-07-01T09:00:00Z",
        "2016/07/01 09:00",
        "2016-7-1 9:00",
        "2016-07-01 09:00:00.000",
        "2016-07-01T11:00:00+02:00",
        "2016-07-01 03:30-0530",
        "2016-07-01 09:00 UTC",
    ],
)
def test_the_usual_forms_of_one_time(text: str) -> None:
    # alone, in a column of its like, and after a text of the plain form, which tries numpy first
    expected = seconds("2016-07-01T09:00:00")[0]
    assert intervals.is_time(text)
    assert intervals.parse_times([text]).tolist() == [expected]
    assert intervals.parse_times([text, text]).tolist() == [expected, expected]
    assert intervals.parse_times(["2016-07-01", text]).tolist() == [expected - 9 * 3600, expected]


def test_dates_and_months_without_a_time() -> None:
    assert intervals.parse_times(["2016-07-01", "1969-12-31"]).tolist() == [1467331200, -86400]
    assert intervals.parse_times(["2016-07", "2016-08"]).tolist() == seconds("2016-07-01", "2016-08-01").tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaT",
        "today",
        "20160701",
        "2016",
        "01/07/2016",
        "2016-13-01",
        "2016-02-30",
        "2016-07-01 25:00",
        "2016-07-01 09:00:00.5",
        "7.5",
    ],
)
def test_what_is_no_time(text: str) -> None:
    assert not intervals.is_time(text)
    with pytest.raises(intervals.TimeTextError) as caught:
        intervals.parse_times(["2016-07-01", text])
    assert (caught.value.row, caught.value.text) == (1, text)


def test_a_bad_time_of_the_same_length_as_the_others() -> None:
    with pytest.raises(intervals.TimeTextError) as caught:
        intervals.parse_times(["2016-07-01", "2016-07-99", "2016-07-03"])
    assert caught.value.row == 1


def test_gaps_are_steps_of_the_most_common_difference() -> None:
    times = np.array([0, 1, 2, 5, 6, 9], np.int64) * 3600 + 1800
    assert intervals.infer_interval(times, "a.csv") == HOUR
    rows = intervals.rows_on_grid(times, HOUR, "a.csv")
    assert rows.tolist() == [0, 1, 2, 5, 6, 9]
    assert intervals.grid_times(times, rows, HOUR).tolist() == [1800 + 3600 * hour for hour in range(10)]


@pytest.mark.parametrize(
    ("texts", "interval", "rows", "following"),
    [
        (["2020-01-01", "2020-02-01", "2020-03-01", "2020-05-01"], MONTH, [0, 1, 2, 4], ["2020-06-01", "2020-07-01"]),
        (
            ["2019-07-15T06:00", "2019-10-15T06:00", "2020-01-15T06:00"],
            Interval(3, "month"),
            [0, 1, 2],
            ["2020-04-15T06:00", "2020-07-15T06:00"],
        ),
        (["2018-01-01", "2019-01-01", "2020-01-01"], Interval(12, "month"), [0, 1, 2], ["2021-01-01", "2022-01-01"]),
        (["2020-01-31", "2020-02-29", "2020-04-30"], MONTH, [0, 1, 3], ["2020-05-31", "2020-06-30"]),
        (["2020-07-01", "2020-08-01"], MONTH, [0, 1], ["2020-09-01", "2020-10-01"]),
        (
            ["2020-01-03", "2020-01-10", "2020-01-24"],
            Interval(7 * 86400, "second"),
            [0, 1, 3],
            ["2020-01-31", "2020-02-07"],
        ),
        (
            ["2020-01-03", "2020-01-31", "2020-02-28"],
            Interval(28 * 86400, "second"),
            [0, 1, 2],
            ["2020-03-27", "2020-04-24"],
        ),
    ],
)
def test_calendar_months_and_weeks(texts: list[str], interval: Interval, rows: list[int], following: list[str]) -> None:
    times = seconds(*texts)
    assert intervals.infer_interval(times, "a.csv") == interval
    found = intervals.rows_on_grid(times, interval, "a.csv")
    assert found.tolist() == rows
    assert intervals.advance(int(times[-1]), 2, interval).tolist() == seconds(*following).tolist()
    grid = intervals.grid_times(times, found, interval)
    assert len(grid) == rows[-1] + 1
    assert grid[found].tolist() == times.tolist()


def test_month_ends_that_a_file_lacks_are_month_ends() -> None:
    times = seconds("2020-01-31", "2020-02-29", "2020-04-30")
    grid = intervals.grid_times(times, np.array([0, 1, 3]), MONTH)
    assert grid.tolist() == seconds("2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30").tolist()


@pytest.mark.parametrize(
    ("hours", "line", "reason"),
    [
        ([0, 1, 2, 2, 3], 5, "is there twice"),
        ([0, 1, 3, 2, 4], 5, "before that of the row above"),
        ([0, 1, 2, 2.5, 3], 5, "off the grid of 3600 seconds"),
    ],
)
def test_irregular_times_name_file_and_line(hours: list[float], line: int, reason: str) -> None:
    times = (np.array(hours) * 3600).astype(np.int64)
    with pytest.raises(DataError, match=f"^a.csv line {line}: .*{reason}"):
        intervals.rows_on_grid(times, HOUR, "a.csv")
    with pytest.raises(DataError, match=f"^a.csv line {line + 10}: .*{reason}"):
        intervals.rows_on_grid(times, HOUR, "a.csv", lambda row: row + 12)


def test_an_odd_day_among_months_is_off_the_grid() -> None:
    times = seconds("2020-01-01", "2020-02-01", "2020-03-02", "2020-04-01", "2020-05-01")
    with pytest.raises(DataError, match="line 4: the time 2020-03-02 00:00:00 lies off the grid"):
        intervals.rows_on_grid(
            seconds("2020-01-01", "2020-02-01", "2020-03-02"), Interval(31 * 86400, "second"), "a.csv"
        )
    with pytest.raises(DataError, match="line "):
        intervals.rows_on_grid(times, MONTH, "a.csv")


def test_one_row_shows_no_interval() -> None:
    with pytest.raises(DataError, match="1 dated row"):
        intervals.infer_interval(np.array([0]), "a.csv")


def test_advance_in_seconds() -> None:
    assert intervals.advance(1000, 3, HOUR).tolist() == [4600, 8200, 11800]
    assert intervals.advance(1000, 0, HOUR).shape == (0,)

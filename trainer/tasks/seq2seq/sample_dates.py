"""The embedded sample of pairs: dates as people write them, and the same dates as ISO 8601, made from a seed.

No date comes twice, so held-out dates are dates that training never saw. What a text leaves open is settled by rules
that hold throughout: with slashes the month comes first, with dots and dashes the day; a year of two digits lies
between 1950 and 2049.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

SAMPLE_PAIRS = 20_000
FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

_NUMERIC = (
    "{y}-{m:02}-{d:02}", "{y}/{m:02}/{d:02}", "{y}.{m:02}.{d:02}", "{y}{m:02}{d:02}",
    "{m}/{d}/{y}", "{m:02}/{d:02}/{y}", "{m}/{d}/{yy:02}", "{m:02}/{d:02}/{yy:02}",
    "{d}.{m}.{y}", "{d:02}.{m:02}.{y}", "{d}.{m}.{yy:02}", "{d:02}.{m:02}.{yy:02}", "{d}. {m}. {y}",
    "{d}-{m}-{y}", "{d:02}-{m:02}-{y}", "{d:02}-{m:02}-{yy:02}",
)  # fmt: skip
_WORDED = (
    "{day} {month} {year}",
    "{day} {month}, {year}",
    "{d}. {month} {year}",
    "{day} of {month} {year}",
    "the {th} of {month}, {year}",
    "the {th} of {month} {year}",
    "{month} {day}, {year}",
    "{month} {day} {year}",
    "{month} the {th}, {year}",
    "{month} {th}, {year}",
    "{d}-{mon}-{y}",
    "{d}/{mon}/{y}",
    "{d}.{mon}.{y}",
    "{d:02}{mon}{y}",
    "{d:02}{mon}{yy:02}",
    "{d:02}-{mon}-{yy:02}",
    "{mon}-{d:02}-{y}",
    "{mon}/{d:02}/{y}",
    "{y} {month} {day}",
    "{y}, {month} {day}",
    "{y}-{mon}-{d:02}",
    "{y} {mon} {d:02}",
)
_WEEKDAY_SHARE, _NUMERIC_SHARE = 0.3, 0.35


def sample_dates(seed: int) -> list[tuple[str, str]]:
    """`SAMPLE_PAIRS` dates between FIRST and LAST in many forms, and in ISO 8601; the same for the same seed."""
    random = np.random.default_rng(seed)
    days = random.choice((LAST - FIRST).days + 1, SAMPLE_PAIRS, replace=False)
    dates = [FIRST + datetime.timedelta(int(day)) for day in days]
    return [(_written(date, random), date.isoformat()) for date in dates]


def _written(date: datetime.date, random: np.random.Generator) -> str:
    """The date in a random form, in random case."""
    form = _pick(_NUMERIC if random.random() < _NUMERIC_SHARE else _WORDED, random)
    words = _ordinal_words(date.day)
    figures = f"{date.day}{_suffix(date.day)}"
    mon = MONTHS[date.month - 1][:3]
    month = _pick(
        (MONTHS[date.month - 1], mon, "Sept" if date.month == 9 else mon, mon if date.month == 5 else f"{mon}."), random
    )
    year = _pick((str(date.year), str(date.year), f"'{date.year % 100:02}", _year_words(date.year)), random)
    text = form.format(
        y=date.year, yy=date.year % 100, m=date.month, d=date.day, mon=mon, month=month, year=year,
        day=_pick((str(date.day), f"{date.day:02}", figures, words), random), th=_pick((figures, words), random),
    )  # fmt: skip
    if random.random() < _WEEKDAY_SHARE:
        weekday = WEEKDAYS[date.weekday()]
        short = weekday[:3]
        forms = (f"{weekday}, {text}", f"{weekday} {text}", f"{short}, {text}", f"{short}. {text}", f"{text} ({short})")
        text = _pick(forms, random)
    return _pick((text, text, text.lower(), text.upper()), random)


def _pick(texts: Sequence[str], random: np.random.Generator) -> str:
    return texts[int(random.integers(len(texts)))]


def _suffix(day: int) -> str:
    return "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _words(number: int) -> str:
    """A number from 1 to 99 in words."""
    if number < 10:
        return _ONES[number - 1]
    if number < 20:
        return _TEENS[number - 10]
    tens = _TENS[number // 10 - 2]
    return f"{tens}-{_ONES[number % 10 - 1]}" if number % 10 else tens


def _ordinal_words(day: int) -> str:
    head, dash, last = _words(day).rpartition("-")
    if last in _IRREGULAR:
        return f"{head}{dash}{_IRREGULAR[last]}"
    return f"{head}{dash}{last[:-1]}ieth" if last.endswith("y") else f"{head}{dash}{last}th"


def _year_words(year: int) -> str:
    if 2000 <= year < 2010:
        return f"two thousand {_words(year % 100)}" if year > 2000 else "two thousand"
    return f"{_words(year // 100)} {_words(year % 100)}"

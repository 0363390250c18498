"""The sample of dates, read back by dateutil where it can and by the calendar where it can't."""

from __future__ import annotations

import datetime
import re

import pytest

from trainer.tasks.seq2seq.sample_dates import FIRST, LAST, MONTHS, SAMPLE_PAIRS, WEEKDAYS, sample_dates

PAIRS = sample_dates(0)
SOURCE, TARGET = zip(*PAIRS)


def test_no_date_comes_twice_and_the_seed_decides() -> None:
    assert len(SOURCE) == len(TARGET) == len(set(TARGET)) == len(set(SOURCE)) == SAMPLE_PAIRS
    dates = [datetime.date.fromisoformat(text) for text in TARGET]
    assert min(dates) >= FIRST and max(dates) <= LAST
    assert {date.day for date in dates} == set(range(1, 32)) and len({date.year for date in dates}) == 100
    assert sample_dates(0) == PAIRS and sample_dates(1)[:10] != PAIRS[:10]


def test_dateutil_reads_the_same_dates() -> None:
    parser = pytest.importorskip("dateutil.parser")
    known = {name.lower()[:size] for name in MONTHS for size in (3, 4, len(name))} | {"st", "nd", "rd", "th"}
    read = 0
    for text, iso in zip(SOURCE[:5000], TARGET):
        figures = re.sub(r"(?i)\b(of|the|(mon|tue|wed|thu|fri|sat|sun)[a-z]*)\b|[()']", " ", text)
        if not set(re.findall(r"[a-z]{2,}", figures.lower())) <= known:
            continue  # numbers in words
        year_first = re.match(r"\D*\d{4}", figures) is not None
        found = parser.parse(figures, dayfirst="/" not in text and not year_first, yearfirst=year_first).date()
        date = datetime.date.fromisoformat(iso)
        # dateutil puts two figures of a year into the century around today.
        assert (found.year % 100, found.month, found.day) == (date.year % 100, date.month, date.day), text
        read += 1
    assert read > 3500


def test_weekdays_are_those_of_the_dates() -> None:
    found = 0
    for text, iso in zip(SOURCE, TARGET):
        weekday = re.search(r"\b(mon|tue|wed|thu|fri|sat|sun)", text.lower())
        if weekday:
            assert WEEKDAYS[datetime.date.fromisoformat(iso).weekday()].lower().startswith(weekday[1]), text
            found += 1
    assert 0.2 < found / SAMPLE_PAIRS < 0.4


def test_numbers_in_words() -> None:
    pairs = {iso: text.lower() for text, iso in zip(SOURCE, TARGET)}
    years = {
        "1950": "nineteen fifty",
        "1999": "nineteen ninety-nine",
        "2000": "two thousand",
        "2007": "two thousand seven",
    }
    years |= {"2010": "twenty ten", "2013": "twenty thirteen", "2045": "twenty forty-five"}
    for year, words in years.items():
        own = [text for iso, text in pairs.items() if iso.startswith(year)]
        assert any(re.search(rf"{words}(?![ -]?[a-z])", re.sub(r" \(.*", "", text)) for text in own), year
    days = {
        "01": "first",
        "02": "second",
        "03": "third",
        "08": "eighth",
        "12": "twelfth",
        "20": "twentieth",
        "21": "twenty-first",
    }
    for day, words in (
        days | {"30": "thirtieth", "31": "thirty-first", "19": "nineteenth", "05": "fifth", "09": "ninth"}
    ).items():
        assert any(words in text for iso, text in pairs.items() if iso.endswith(f"-{day}")), day
    figures = {
        "01": "1st",
        "02": "2nd",
        "03": "3rd",
        "11": "11th",
        "12": "12th",
        "13": "13th",
        "22": "22nd",
        "23": "23rd",
        "31": "31st",
    }
    for day, text in figures.items():
        assert any(re.search(rf"\b{text}\b", own) for iso, own in pairs.items() if iso.endswith(f"-{day}")), day
    wrong = r"1[123](st|nd|rd)|[04-9](st|nd|rd)|[023]1th|[023]2th|[023]3th|\b[123]th"
    assert not any(re.search(wrong, text) for text in pairs.values())

"""The embedded sample: hourly electric load of four districts over three years, made from a seed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from trainer.storage.atomic_file import atomic_file
from trainer.tasks.forecast.data.csv_series import RawSeries
from trainer.tasks.forecast.data.intervals import Interval, format_time

COLUMNS = ("north", "south", "harbour", "works")
SAMPLE_FILE = "sample.csv"
HOURS = 3 * 365 * 24  # 2021 to 2023
FIRST_TIME = 1609459200  # 2021-01-01 00:00:00 UTC, a Friday
HOLIDAYS = ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))  # month, day

# One entry a column: megawatts, growth over the three years, swing of the seasons (winter peak above 0), drop on free
# days.
_BASE = np.array([420.0, 310.0, 150.0, 95.0])
_GROWTH = np.array([0.10, 0.05, -0.06, 0.15])
_SEASON = np.array([0.16, -0.10, 0.08, 0.03])
_FREE_DAY = np.array([0.10, 0.14, 0.20, 0.45])
_NOISE = 0.06  # standard deviation of the weather part, as a share of the base


def sample_series(seed: int) -> RawSeries:
    """The sample: float32 [26280, 4] in megawatts with gaps as NaN, and hourly times; the same for the same seed.

    Free days differ from working days and the noise forgets within a day, so repeating the last day is a poor forecast.
    """
    random = np.random.default_rng(seed)
    hours = np.arange(HOURS)
    times = FIRST_TIME + hours * 3600
    day = hours / 24
    free = _free_days(times)
    profile = np.where(free, _daily_profile(hours % 24, late=True), _daily_profile(hours % 24, late=False))
    season = np.cos(2 * np.pi * (day - 15) / 365.25)
    share = (
        1.0
        + np.outer(day / day[-1], _GROWTH)
        + np.outer(season, _SEASON)
        + np.outer(profile, [0.30, 0.26, 0.18, 0.22])
        - np.outer(free, _FREE_DAY)
        + np.outer(_autoregressive(random, 0.93), [1.0, 0.9, 0.6, 0.2]) * _NOISE
        + np.stack([_autoregressive(random, 0.8) for _ in COLUMNS], axis=1) * 0.02
        + random.normal(0.0, 0.01, (HOURS, len(COLUMNS)))
    )
    values = (_BASE * np.maximum(share, 0.05)).astype(np.float32)
    _cut_gaps(random, values)
    return RawSeries("sample", COLUMNS, values, times, Interval(3600, "second"), "the sample")


def write_csv(series: RawSeries, path: Path) -> None:
    """Writes series as the CSV file that `--source=csv` would read: an example of the form, and a history to predict
    from.
    """
    assert series.times is not None
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", *series.columns])
        for time, row in zip(series.times, series.values):
            writer.writerow([format_time(int(time)), *("" if np.isnan(value) else f"{value:.2f}" for value in row)])


def _free_days(times: np.ndarray) -> np.ndarray:
    """Whether each hour is on a Saturday, a Sunday or a holiday."""
    days = times.astype("datetime64[s]").astype("datetime64[D]")
    month = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    day = (days - days.astype("datetime64[M]")).astype(np.int64) + 1
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    return (weekday >= 5) | np.isin(month * 100 + day, [month * 100 + day for month, day in HOLIDAYS])


def _daily_profile(hour: np.ndarray, late: bool) -> np.ndarray:
    """A day's shape, -1 to 1 or so: a morning and an evening peak; on free days a late one, around noon."""
    peaks = ((12.5, 3.0, 0.9), (19.0, 2.0, 0.5)) if late else ((8.5, 2.0, 1.0), (18.5, 2.5, 1.1))
    return sum(
        (height * np.exp(-(((hour - at) / width) ** 2)) for at, width, height in peaks), np.full(hour.shape, -0.5)
    )


def _autoregressive(random: np.random.Generator, keep: float) -> np.ndarray:
    """StepContext of standard deviation 1 that keeps the share `keep` of itself from hour to hour, [HOURS]."""
    memory = keep ** np.arange(200)  # what is older is below 1e-6
    context = random.normal(0.0, 1.0, HOURS + len(memory) - 1)
    return np.convolve(context, memory, mode="valid") * np.sqrt(1 - keep**2)


def _cut_gaps(random: np.random.Generator, values: np.ndarray) -> None:
    """Makes single values and runs of one column missing, and a few hours of all columns at once."""
    values[random.random(values.shape) < 0.003] = np.nan
    for column in range(values.shape[1]):
        for start in random.integers(0, HOURS, 6):
            values[start : start + random.integers(3, 49), column] = np.nan
    for start in random.integers(0, HOURS, 5):
        values[start : start + random.integers(2, 13)] = np.nan

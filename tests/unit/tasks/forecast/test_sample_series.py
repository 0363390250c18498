"""The embedded sample has the properties that its users rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.tasks.forecast.data.csv_series import read_csv
from trainer.tasks.forecast.data.sample_series import COLUMNS, HOURS, sample_series, write_csv


def test_it_is_hourly_and_the_same_for_the_same_seed() -> None:
    first, again, other = sample_series(3), sample_series(3), sample_series(4)
    assert first.values.shape == (HOURS, len(COLUMNS))
    assert first.values.dtype == np.float32
    assert first.times is not None
    assert set(np.diff(first.times)) == {3600}
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values, equal_nan=True)
    assert np.nanmin(first.values) > 0


def test_it_has_gaps_of_every_kind_but_few() -> None:
    missing = np.isnan(sample_series(0).values)
    assert 0.002 < missing.mean() < 0.03
    assert missing.all(axis=1).any()
    runs = np.diff(np.flatnonzero(np.diff(np.r_[0, missing[:, 0].astype(int), 0])))[::2]
    assert runs.max() >= 12
    assert (runs == 1).sum() >= 20


def test_it_has_a_week_a_year_and_a_trend() -> None:
    values = sample_series(0).values.astype(np.float64)
    hours = values.reshape(-1, 24, 4)
    days = np.nansum(hours, axis=1) / np.maximum((~np.isnan(hours)).sum(axis=1), 1)
    days[days == 0] = np.nan
    free = np.isin((np.arange(len(days)) + 4) % 7, (5, 6))  # the first day is a Friday
    assert (np.nanmean(days[~free], axis=0) > 1.05 * np.nanmean(days[free], axis=0)).all()
    january, july = days[0:31, 0], days[181:212, 0]
    assert np.nanmean(january) > 1.1 * np.nanmean(july)
    assert np.nanmean(days[730:, 0]) > 1.03 * np.nanmean(days[:365, 0])


def test_a_linear_model_clearly_beats_repeating_the_last_day() -> None:
    values = sample_series(0).values[:, 0].astype(np.float64)
    filled = np.where(np.isnan(values), np.nanmean(values), values)
    starts = np.arange(96, HOURS - 24, 7)
    inputs = np.stack([filled[start - 96 : start] for start in starts])
    targets = np.stack([values[start : start + 24] for start in starts])
    cut = len(starts) * 7 // 10
    whole = ~np.isnan(targets[:cut]).any(axis=1)
    design = np.c_[inputs, np.ones(len(inputs))]
    learnt = design[:cut][whole]
    weights = np.linalg.solve(learnt.T @ learnt + 1e3 * np.eye(97), learnt.T @ targets[:cut][whole])
    linear = np.nanmean((design[cut:] @ weights - targets[cut:]) ** 2)
    last_day = np.nanmean((inputs[cut:, -24:] - targets[cut:]) ** 2)
    assert linear < 0.7 * last_day


def test_the_sample_as_csv_reads_back(tmp_path: Path) -> None:
    series = sample_series(3)
    write_csv(series, tmp_path / "sample.csv")
    again = read_csv(str(tmp_path / "sample.csv"))
    assert again.columns == series.columns and again.interval == series.interval
    np.testing.assert_array_equal(again.times, series.times)
    np.testing.assert_allclose(again.values, series.values, atol=0.006)

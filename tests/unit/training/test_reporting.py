"""Without a terminal, a run tells now and then in its log how far it is."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.cli import progress_line
from trainer.cli.progress_line import ProgressLine


@pytest.mark.parametrize(
    ("total_steps", "total_seconds", "expected"),
    [(100, None, ProgressLine(30, 100, 2.0, 5.0, 14.0)), (None, 60.0, ProgressLine(30, None, 2.0, 5.0, 48.0))],
)
def test_progress_is_logged_where_no_bar_is_seen(
    tf, tmp_path, monkeypatch, caplog, total_steps, total_seconds, expected
) -> None:
    from trainer.training import reporting

    caplog.set_level("INFO")
    monkeypatch.setattr(reporting, "PROGRESS_SECONDS", 0.0)
    report = reporting.Report(str(tmp_path), 0, 0.0, total_steps, total_seconds)
    rows = np.array([1.0, 3.0] * 5)
    for first, seconds in ((1, 8.0), (11, 2.0), (21, 2.0)):
        report.steps(first, rows, rows, rows, seconds)
    report.close()
    told = [found for record in caplog.records if (found := progress_line.find(record.getMessage()))]
    assert told[-1] == expected


def test_progress_is_not_told_all_the_time(tf, tmp_path, caplog) -> None:
    from trainer.training import reporting

    caplog.set_level("INFO")
    report = reporting.Report(str(tmp_path), 0, 0.0, 100, None)
    for first in (1, 2, 3):
        report.steps(first, np.ones(1), np.ones(1), np.ones(1), 0.1)
    report.close()
    assert not any(progress_line.find(record.getMessage()) for record in caplog.records)

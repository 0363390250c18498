"""The line of progress is read back as it was written, from among other text."""

from __future__ import annotations

import pytest

from trainer.cli.progress_line import ProgressLine, find


@pytest.mark.parametrize("line", [ProgressLine(7, 100, 0.5, 3.25, 29.0), ProgressLine(7, None, 12.25, 0.0625, 0.0)])
def test_it_is_read_back(line) -> None:
    assert find(f"12:00:00 INFO {line}\n") == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "progress: bar",
        "progress: step=7 of=100 loss=0.5 steps_per_sec",
        "progress: step=7 loss=x steps_per_second=1 seconds_left=2",
    ],
)
def test_other_lines_tell_none(text) -> None:
    assert find(text) is None

"""The line by which a run without a terminal tells how far it is, and by which others read it: `launch.kubernetes`
does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"progress: step=(?P<step>\d+)(?: of=(?P<of>\d+))? loss=(?P<loss>\S+) steps_per_second=(?P<rate>\S+) "
    r"seconds_left=(?P<left>\S+)"
)


@dataclass(frozen=True)
class ProgressLine:
    """`total_steps` is None where the clock ends the run (`--train_seconds`)."""

    step: int
    total_steps: int | None
    loss: float
    steps_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        of = "" if self.total_steps is None else f" of={self.total_steps}"
        rate = f"steps_per_second={self.steps_per_second:.4g}"
        return f"progress: step={self.step}{of} loss={self.loss:.6g} {rate} seconds_left={self.seconds_left:.0f}"


def find(line: str) -> ProgressLine | None:
    """The progress that a line of a log tells, whatever stands before it; None where it tells none."""
    match = _LINE.search(line)
    if not match:
        return None
    try:
        of = match["of"]
        return ProgressLine(
            int(match["step"]),
            int(of) if of else None,
            float(match["loss"]),
            float(match["rate"]),
            float(match["left"]),
        )
    except ValueError:  # a line cut short
        return None

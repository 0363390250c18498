"""When a process was started, by which its number is told from a later one's. Linux."""

from __future__ import annotations

from pathlib import Path

_STATE, _START_TIME = 0, 19  # among the fields of /proc/PID/stat after the command's name


def start_ticks(process: int | str) -> int | None:
    """Clock ticks from the start of the machine to that of the process; None where there is none, or it has ended.

    Args:
      process: its number, or `self`.
    """
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    return None if fields[_STATE] == "Z" else int(fields[_START_TIME])

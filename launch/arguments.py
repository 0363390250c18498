"""Arguments of a launcher: its own flags, then `--`, then those of the trainer's command."""

from __future__ import annotations

from collections.abc import Sequence

SEPARATOR = "--"


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts the arguments at the first `--`: ours, the trainer's."""
    at = list(arguments).index(SEPARATOR) if SEPARATOR in arguments else len(arguments)
    return list(arguments[:at]), list(arguments[at + 1 :])

"""Errors that end a command, each with the exit code that tells a scheduler what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_DONE = 0
EXIT_DEFECT = 1
EXIT_CONFIG = 64
EXIT_DATA = 65
EXIT_DIVERGED = 70
EXIT_RESTART = 75
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: `--flag=value reason; remedy`. A name in capitals is an environment
    variable.
    """

    flag: str
    value: object
    reason: str
    remedy: str

    def __str__(self) -> str:
        name = self.flag if self.flag.isupper() else f"--{self.flag}"
        shown = name if self.value is None else f"{name}={self.value}"
        return f"{shown} {self.reason}; {self.remedy}"


class ArgumentProblem(Problem):
    """One thing wrong with an argument that is not a flag, which is told as it is: `argument reason; remedy`."""

    def __str__(self) -> str:
        return f"{self.flag} {self.reason}; {self.remedy}"


def one_line(text: object, most: int = 200) -> str:
    """Foreign text as a part of an error: one line, nothing in it that a terminal would not show, at most `most`
    characters of it.
    """
    shown = str(text)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown[:most]) + "…" * (
        len(shown) > most
    )


class TrainerError(Exception):
    """A foreseen failure; its text is one line with cause and remedy."""

    exit_code = EXIT_DEFECT


class ConfigError(TrainerError):
    """Wrong flags or configuration: nothing was started."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[Problem]):
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UnfitError(TrainerError):
    """A value that cannot be used, from code that does not know where it comes from: `value reason; remedy`. Commands
    name the flag (`cli.flag_of_value`).
    """

    exit_code = EXIT_CONFIG

    def __init__(self, value: object, reason: str, remedy: str):
        super().__init__(value, reason, remedy)

    @property
    def value(self) -> object:
        return self.args[0]

    @property
    def reason(self) -> str:
        return str(self.args[1])

    @property
    def remedy(self) -> str:
        return str(self.args[2])

    def __str__(self) -> str:
        return f"{self.value} {self.reason}; {self.remedy}"


class LocationError(UnfitError):
    """A path, or an address in Cloud Storage."""


class CacheSizeError(UnfitError):
    """The largest size of the cache of shards, in gigabytes."""


class VocabularySizeError(UnfitError):
    """The number of a vocabulary's tokens."""


class DataError(TrainerError):
    """Bad data; the text names the file and the row or record."""

    exit_code = EXIT_DATA


class StorageError(TrainerError):
    """A file could not be written or read for a reason outside the data (disk full, no permission)."""


class RestartError(TrainerError):
    """The run was preempted or lost a peer: state is saved or unchanged, start the same command again."""

    exit_code = EXIT_RESTART


class InterruptError(TrainerError):
    """Somebody pressed Ctrl-C: state is saved, the same command goes on."""

    exit_code = EXIT_INTERRUPTED


class DivergedError(TrainerError):
    """The loss became NaN or infinite; nothing was saved after it did. Another try would repeat it to the bit."""

    exit_code = EXIT_DIVERGED


class ReplicaError(TrainerError):
    """Replicas that must hold the same weights do not."""

"""Arguments of a launcher: its own flags, then `--`, then those of the trainer's command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.cli import flags
from trainer.errors import ArgumentProblem, ConfigError, Problem

SEPARATOR = "--"


@dataclass(frozen=True)
class Sides:
    """A launcher's own arguments and the trainer's, each flag on the side that has it, and a problem for each that was
    on the other.
    """

    launchers: list[str]
    trainers: list[str]
    problems: list[Problem]


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts the arguments at the first `--`: ours, the trainer's."""
    at = list(arguments).index(SEPARATOR) if SEPARATOR in arguments else len(arguments)
    return list(arguments[:at]), list(arguments[at + 1 :])


def check_separator(arguments: Sequence[str], launcher: str, example: str) -> None:
    """Raises ConfigError where `--` is missing, without which no flag is where it belongs; `example` is the command
    with it.
    """
    if SEPARATOR not in arguments:
        reason = f"is missing: the flags of {launcher} stand before it, those of the trainer's command behind it"
        raise ConfigError([ArgumentProblem(SEPARATOR, None, reason, f"give them as in {example}")])


def sides(launchers: Sequence[str], trainers: Sequence[str], launchers_class: type, trainers_class: type) -> Sides:
    """Moves every `--name=value` that only the flags of the other side have over there."""
    launchers_names, trainers_names = (
        {spec.name for spec in flags.flag_specs(each)} for each in (launchers_class, trainers_class)
    )
    early = [argument for argument in launchers if _name(argument) in trainers_names - launchers_names]
    late = [argument for argument in trainers if _name(argument) in launchers_names - trainers_names]
    problems = [
        _problem(argument, "stands before --", "give it behind --, with the trainer's flags") for argument in early
    ]
    problems += [
        _problem(argument, "stands behind --", "give it before --, with the launcher's flags") for argument in late
    ]
    return Sides(
        [*(argument for argument in launchers if argument not in early), *late],
        [*(argument for argument in trainers if argument not in late), *early],
        problems,
    )


def _name(argument: str) -> str:
    """The flag's name; none where its value stands in the next argument, which has to stay behind it."""
    return argument.lstrip("-").partition("=")[0] if argument.startswith("-") and "=" in argument else ""


def _problem(argument: str, reason: str, remedy: str) -> Problem:
    return Problem(_name(argument), argument.partition("=")[2], reason, remedy)

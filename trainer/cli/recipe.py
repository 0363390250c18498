"""Recipes: ready flags of `trainer.train`, kept in the package and found by name from any directory."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.errors import Problem

FLAG = "recipe"
HELP = "help"  # as a name: list what there is

_DIRECTORY = Path(__file__).parents[1] / "recipes"


def names() -> list[str]:
    return sorted(path.stem for path in _DIRECTORY.glob("*.flags"))


def path_of(name: str) -> str:
    """The flag file of a recipe out of `names()`."""
    return str(_DIRECTORY / f"{name}.flags")


def listing() -> str:
    """A line for each recipe: its name and the first comment of its file."""
    recipes = names()
    width = max(map(len, recipes), default=0)
    return "\n".join(f"{name:<{width}}  {_summary(name)}" for name in recipes)


def _summary(name: str) -> str:
    with Path(path_of(name)).open(encoding="utf-8") as lines:
        return next(lines).removeprefix("#").strip()


def applies_to(config_class: type) -> bool:
    """Whether a command takes recipes."""
    return getattr(config_class, "TAKES_RECIPE", False)


def lists_recipes(config_class: type, arguments: Sequence[str]) -> bool:
    """Whether the recipes are to be listed."""
    by_flag = f"--{FLAG}={HELP}" in arguments or (f"--{FLAG}", HELP) in itertools.pairwise(arguments)
    return applies_to(config_class) and by_flag


def expanded(config_class: type, arguments: Sequence[str]) -> tuple[list[str], list[Problem]]:
    """The arguments without --recipe, behind those of the recipe that they do not replace; and problems.

    An argument replaces the recipe's flag of that name, and those that it is an alternative to (one budget of training
    for another).
    """
    rest: list[str] = []
    name, left = "", list(arguments)
    while left:
        argument = left.pop(0)
        if _flag_name(argument) != FLAG or not argument.startswith("-"):
            rest.append(argument)
        elif "=" in argument:
            name = argument.partition("=")[2]
        elif not left:
            return rest, [Problem(FLAG, None, "has no value", f"give it as --{FLAG}=NAME")]
        else:
            name = left.pop(0)
    if not name:
        return rest, []
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = (
            f"did you mean {close[0]}?" if close else f"python -m trainer.train --{FLAG}={HELP} lists those there are"
        )
        return rest, [Problem(FLAG, name, "is not a recipe", hint)]
    replaced = {_flag_name(argument) for argument in rest}
    replaced |= {flag for group in _alternatives(config_class) if replaced.intersection(group) for flag in group}
    lines = Path(path_of(name)).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("--") and _flag_name(line) not in replaced] + rest, []


def _flag_name(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0]


def _alternatives(config_class: type) -> Iterator[tuple[str, ...]]:
    """Groups of flags of which one is to be given, as the dataclasses declare them."""
    yield getattr(config_class, "ALTERNATIVES", ())
    for hint in typing.get_type_hints(config_class).values():
        if dataclasses.is_dataclass(hint):
            yield from _alternatives(typing.cast(type, hint))

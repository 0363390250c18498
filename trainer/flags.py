"""Flags <-> frozen dataclasses. The one place that touches absl flags.

A configuration is a frozen dataclass whose fields carry their help text (`config.flag`). Each field is a flag of the same
name; a field that is itself a dataclass is a group of flags. Parsing gathers every problem instead of stopping at the first.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from absl import flags as absl_flags

from trainer import recipe
from trainer.errors import ConfigError, Problem

Config = TypeVar("Config")

RECIPE = "recipe"


@dataclasses.dataclass(frozen=True)
class FlagSpec:
    """One flag as its dataclass field declares it."""

    name: str
    kind: type  # bool, int, float, str or tuple (comma-separated strings)
    default: Any
    help: str
    group: str
    choices: tuple[str, ...]
    optional: bool


class _Invalid:
    """Stands for a value that could not be parsed, until all problems are reported together."""

    def __init__(self, text: str, wanted: str):
        self.text, self.wanted = text, wanted


_WANTED = {int: "a whole number", float: "a number", bool: "true or false"}


def flag_specs(config_class: type) -> Iterator[FlagSpec]:
    """Yields the flags that the fields of `config_class` (and of the dataclasses inside it) declare."""
    title: str = getattr(config_class, "GROUP", "")
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from flag_specs(typing.cast(type, hint))
            continue
        kinds = [hint]
        if isinstance(hint, types.UnionType):
            kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        kind = typing.get_origin(kinds[0]) or kinds[0]
        yield FlagSpec(
            name=field.name,
            kind=kind,
            default=field.default,
            help=field.metadata["help"],
            group=title,
            choices=tuple(field.metadata.get("choices", ())),
            optional=isinstance(hint, types.UnionType),
        )


class _Parser(absl_flags.ArgumentParser):  # type: ignore[type-arg]
    """Parses one value; gives an `_Invalid` where absl would raise, so that all problems can be told at once."""

    def __init__(self, spec: FlagSpec):
        super().__init__()
        self.spec = spec

    def parse(self, argument: Any) -> Any:
        spec = self.spec
        if not isinstance(argument, str):
            return argument
        text = argument.strip()
        if spec.optional and text == "":
            return None
        if spec.kind is tuple:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if spec.kind is bool:
            lowered = text.lower()
            if lowered in ("true", "t", "1", "yes", "false", "f", "0", "no"):
                return lowered in ("true", "t", "1", "yes")
            return _Invalid(argument, _WANTED[bool])
        try:
            return spec.kind(text)
        except ValueError:
            return _Invalid(argument, _WANTED[spec.kind])


def _define(specs: Sequence[FlagSpec]) -> absl_flags.FlagValues:
    values = absl_flags.FlagValues()
    for spec in specs:
        default = None if spec.default is dataclasses.MISSING else spec.default
        if spec.kind is bool:
            boolean = absl_flags.BooleanFlag(spec.name, default, spec.help)
            boolean.parser = _Parser(spec)  # type: ignore[assignment]
            absl_flags.DEFINE_flag(boolean, flag_values=values)
        else:
            absl_flags.DEFINE(_Parser(spec), spec.name, default, spec.help, flag_values=values)
    return values


def _unknown(arguments: Sequence[str], names: Sequence[str]) -> Iterator[Problem]:
    for argument in arguments:
        if not argument.startswith("-"):
            yield Problem(argument, None, "is no flag", "every setting is given as --name=value")
            continue
        name, _, value = argument.lstrip("-").partition("=")
        close = difflib.get_close_matches(name, names, n=1)
        remedy = f"did you mean --{close[0]}?" if close else "see --help for the flags there are"
        yield Problem(name, value or None, "is not a flag of this command", remedy)


def parse(config_class: type[Config], arguments: Sequence[str]) -> Config:
    """Builds a `config_class` from command-line arguments (without the program's name).

    Raises:
      ConfigError: unknown flags, values that do not parse, required flags that are absent, choices that do not exist: all of
        them in one error, together with what the dataclass's own `problems()` finds.
    """
    config, found = read(config_class, arguments)
    if found or config is None:
        raise ConfigError(found)
    return config


def read(config_class: type[Config], arguments: Sequence[str]) -> tuple[Config | None, list[Problem]]:
    """As `parse`, but gives the problems, for callers that have more to check before they tell all at once.

    Flags with a problem have their default in the configuration; it is None where a required flag is absent or wrong.
    """
    specs = list(flag_specs(config_class))
    values = _define(specs)
    names = [spec.name for spec in specs]
    if takes_recipe(config_class):
        absl_flags.DEFINE_string(RECIPE, "", "", flag_values=values)
        names.append(RECIPE)
    try:
        rest = values(["", *arguments], known_only=True)[1:]
    except absl_flags.Error as error:  # a --flagfile that cannot be read, a flag without its value
        return None, [Problem("flagfile", None, str(error), "give an existing file and a value for every flag")]
    found = list(_unknown(rest, names))
    recipes = _of_recipe(config_class, values, specs, found) if takes_recipe(config_class) else {}
    settings: dict[str, Any] = {}
    for spec in specs:
        value = recipes.get(spec.name, values[spec.name].value)
        if isinstance(value, _Invalid):
            found.append(Problem(spec.name, value.text, "does not parse", f"give {value.wanted}"))
            value = spec.default
        elif value is None and not spec.optional:
            found.append(Problem(spec.name, None, "is missing", f"give it: {spec.help}"))
        elif spec.choices and value is not None and value not in spec.choices:
            found.append(Problem(spec.name, value, "is not known", f"use one of {', '.join(spec.choices)}"))
        settings[spec.name] = value
    if found and any(settings[spec.name] is dataclasses.MISSING or (settings[spec.name] is None and not spec.optional) for spec in specs):
        return None, found
    config = _build(config_class, settings)
    check = getattr(config, "problems", None)
    named = {problem.flag for problem in found}
    if check is not None and RECIPE not in named:  # of a recipe that there is not, nobody knows what it would have set
        found.extend(problem for problem in check() if problem.flag not in named)
    return config, found


def takes_recipe(config_class: type) -> bool:
    return getattr(config_class, "TAKES_RECIPE", False)


def _of_recipe(config_class: type, arguments: absl_flags.FlagValues, specs: Sequence[FlagSpec], found: list[Problem]) -> dict[str, Any]:
    """The values that the recipe sets and the arguments do not; a name that there is not goes to `found`.

    An argument replaces the recipe's flag of that name, and those that it is an alternative to (one budget of training for another).
    """
    name = arguments[RECIPE].value
    if not name:
        return {}
    if name not in recipe.names():
        close = difflib.get_close_matches(name, recipe.names(), n=1)
        hint = f"did you mean {close[0]}?" if close else "python -m trainer.train --recipe=help lists those there are"
        found.append(Problem(RECIPE, name, "is no recipe", hint))
        return {}
    values = _define(specs)
    values(["", f"--flagfile={recipe.path_of(name)}"])
    replaced = {flag for flag in arguments if arguments[flag].present}
    replaced |= {flag for group in _alternatives(config_class) if replaced.intersection(group) for flag in group}
    return {spec.name: values[spec.name].value for spec in specs if values[spec.name].present and spec.name not in replaced}


def _alternatives(config_class: type) -> Iterator[tuple[str, ...]]:
    """Groups of flags of which one is to be given, as the dataclasses declare them."""
    yield getattr(config_class, "ALTERNATIVES", ())
    for hint in typing.get_type_hints(config_class).values():
        if dataclasses.is_dataclass(hint):
            yield from _alternatives(typing.cast(type, hint))


def _build(config_class: type[Config], settings: dict[str, Any]) -> Config:
    hints = typing.get_type_hints(config_class)
    arguments = {
        field.name: _build(hints[field.name], settings) if dataclasses.is_dataclass(hints[field.name]) else settings[field.name]
        for field in dataclasses.fields(typing.cast(Any, config_class))
    }
    return config_class(**arguments)


def to_arguments(config: Any) -> list[str]:
    """The flags that give `config` again, one a line of a flag file; defaults are left out."""
    lines = []
    for spec in flag_specs(type(config)):
        value = _value_of(config, spec.name)
        if value == spec.default:
            continue
        if spec.kind is tuple:
            value = ",".join(value)
        lines.append(f"--{spec.name}={str(value).lower() if spec.kind is bool else value}")
    return lines


def _value_of(config: Any, name: str) -> Any:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            if field.name == name:
                return value
        elif any(spec.name == name for spec in flag_specs(typing.cast(type, type(value)))):
            return _value_of(value, name)
    raise KeyError(name)


def help_text(command: str, summary: str, config_class: type) -> str:
    """The text of `--help`: the command's own flags, grouped by stage."""
    files = "[--recipe=NAME, or help] [--flagfile=FILE]" if takes_recipe(config_class) else "[--flagfile=FILE]"
    lines = [summary.strip(), "", f"usage: python -m {command} {files} --name=value ...", ""]
    group = None
    for spec in flag_specs(config_class):
        if spec.group != group:
            group = spec.group
            lines += ["", f"{group}:"] if lines[-1] else [f"{group}:"]
        choices = f" ({', '.join(spec.choices)})" if spec.choices else ""
        if spec.default is dataclasses.MISSING:
            default = " [required]"
        elif spec.default in (None, "", ()):
            default = ""
        else:
            default = f" [{','.join(spec.default) if spec.kind is tuple else spec.default}]"
        lines.append(f"  --{spec.name}{choices}{default}\n      {spec.help}")
    return "\n".join(lines)


def wants_help(arguments: Sequence[str]) -> bool:
    return any(argument in ("--help", "-help", "-h", "--helpfull", "-?") for argument in arguments)


def wants_recipes(config_class: type, arguments: Sequence[str]) -> bool:
    """Whether the recipes are to be listed."""
    asked = f"--{RECIPE}={recipe.HELP}" in arguments or (f"--{RECIPE}", recipe.HELP) in itertools.pairwise(arguments)
    return takes_recipe(config_class) and asked

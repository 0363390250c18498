"""Flags <-> frozen dataclasses. The one place that touches absl flags.

A configuration is a frozen dataclass whose fields carry their help text (`config.flag`). Each field is a flag of the
same name; a field that is itself a dataclass is a group of flags. Parsing gathers every problem instead of stopping at
the first, and leaves out what only follows from another one.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from absl import flags as absl_flags

from trainer.cli import recipe
from trainer.config import places
from trainer.errors import ArgumentProblem, ConfigError, Problem

Config = TypeVar("Config")


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

    def __init__(self, text: str, expected: str):
        self.text, self.expected = text, expected


_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false"}


def flag_specs(config_class: type) -> Iterator[FlagSpec]:
    """Yields the flags that the fields of `config_class` (and of the dataclasses inside it) declare; those of tasks
    before other groups.
    """
    title: str = getattr(config_class, "GROUP", "")
    hints = typing.get_type_hints(config_class)
    tasks = {kind for kinds in getattr(config_class, "TASK_GROUPS", {}).values() for kind in kinds}

    def rank(field: dataclasses.Field[Any]) -> tuple[bool, bool]:
        hint = hints[field.name]
        return dataclasses.is_dataclass(hint), hint not in tasks

    for field in sorted(dataclasses.fields(config_class), key=rank):
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
            return _Invalid(argument, _EXPECTED[bool])
        try:
            return spec.kind(text)
        except ValueError:
            return _Invalid(argument, _EXPECTED[spec.kind])


def _define(specs: Sequence[FlagSpec]) -> absl_flags.FlagValues:
    values = absl_flags.FlagValues()
    values.set_gnu_getopt(True)  # go on behind an argument that is not a flag
    for spec in specs:
        default = None if spec.default is dataclasses.MISSING else spec.default
        if spec.kind is bool:
            boolean = absl_flags.BooleanFlag(spec.name, default, spec.help)
            boolean.parser = _Parser(spec)  # type: ignore[assignment]
            absl_flags.DEFINE_flag(boolean, flag_values=values)
        else:
            absl_flags.DEFINE(_Parser(spec), spec.name, default, spec.help, flag_values=values)
    return values


@dataclasses.dataclass(frozen=True)
class Reading(Generic[Config]):
    """Arguments, read: a configuration or problems.

    Attributes:
        config: flags with a problem have a right value in it; None where a required flag is absent.
        problems: of the arguments.
        others: what `config` would be with other right values of the flags that have a problem, one flag changed in
          each.
        values: every flag's value, those in `config` or where it is None all that is known.
    """

    config: Config | None
    problems: list[Problem]
    others: tuple[Config, ...]
    values: Mapping[str, Any]


def parse(config_class: type[Config], arguments: Sequence[str]) -> Config:
    """Builds a `config_class` from command-line arguments (without the program's name).

    Raises:
      ConfigError: unknown flags, values that do not parse, required flags that are absent, choices that do not exist:
        all of them in one error, together with what the dataclass's own `problems()` finds, and outputs that are inputs
        (`places()`).
    """
    reading = read(config_class, arguments)
    if reading.problems or reading.config is None:
        raise ConfigError(reading.problems)
    return reading.config


def read(config_class: type[Config], arguments: Sequence[str]) -> Reading[Config]:
    """As `parse`, but gives the problems, for callers that have more to check before they tell all at once."""
    specs = {spec.name: spec for spec in flag_specs(config_class)}
    lines, all_problems = _with_flag_files(arguments)
    if lines is None:  # so nobody can tell what is missing
        return Reading(None, all_problems, (), {name: _default(spec) for name, spec in specs.items()})
    if recipe.applies_to(config_class):
        lines, problems = recipe.expanded(config_class, lines)
        all_problems += problems
    values, rest, wrong_values = _parsed_values(list(specs.values()), lines)
    all_problems += wrong_values
    wrong = {problem.flag for problem in all_problems if problem.flag in specs}
    for argument in rest:
        problem, meant = _unknown(argument, [*specs, recipe.FLAG] if recipe.applies_to(config_class) else list(specs))
        all_problems.append(problem)
        if meant in specs and values[meant] == _default(specs[meant]):
            wrong.add(meant)
            if "=" in argument:
                values[meant] = _Parser(specs[meant]).parse(argument.partition("=")[2])
    settings: dict[str, Any] = {}
    for name, spec in specs.items():
        settings[name], problem_of_value = _checked(spec, values[name])
        if problem_of_value is not None and name not in wrong:
            all_problems.append(problem_of_value)
        if problem_of_value is not None:
            wrong.add(name)
    if any(settings[name] is None and not spec.optional for name, spec in specs.items()):
        return Reading(None, all_problems, (), settings)
    config = build(config_class, settings)
    changes = [{name: value} for name in sorted(wrong) for value in _right_values(specs[name])]
    others = tuple(build(config_class, settings | change) for change in changes)
    named = {problem.flag for problem in all_problems} | wrong
    check = getattr(config_class, "problems", None)
    if (
        check is not None and recipe.FLAG not in named
    ):  # of a recipe that there is not, nobody knows what it would have set
        all_problems.extend(problem for problem in lasting(check, config, others) if problem.flag not in named)
    if hasattr(config, "places"):
        all_problems.extend(
            problem for problem in places.problems(config.places(), _flag_files(arguments)) if problem.flag not in named
        )
    return Reading(config, all_problems, others, settings)


def lasting(check: Callable[[Config], Iterable[Problem]], config: Config, others: Iterable[Config]) -> list[Problem]:
    """The problems that `check` finds in `config` and in all `others`: what one of them is without only follows from a
    problem that is told already.
    """
    problems = list(check(config))
    for other in others:
        again = set(check(other))
        problems = [problem for problem in problems if problem in again]
    return problems


def _with_flag_files(arguments: Sequence[str]) -> tuple[list[str] | None, list[Problem]]:
    """The arguments with what stands in flag files in their place, None where those cannot be read; and problems."""
    try:
        lines = absl_flags.FlagValues().read_flags_from_files(arguments)
    except absl_flags.IllegalFlagValueError:
        return None, [Problem("flagfile", None, "has no value", "give it as --flagfile=FILE")]
    except (absl_flags.Error, UnicodeDecodeError) as error:
        return None, [_unreadable(arguments, error)]
    problems: list[Problem] = (
        [ArgumentProblem("--", None, "has no place here", "leave it out")] if "--" in lines else []
    )
    return [line for line in lines if line != "--"], problems


def _parsed_values(specs: Sequence[FlagSpec], lines: Sequence[str]) -> tuple[dict[str, Any], list[str], list[Problem]]:
    """The flags' values, or `_Invalid`, or None for those that are absent and have no default; arguments that are none;
    problems.
    """
    problems: list[Problem] = []
    left = list(lines)
    while True:
        values = _define(specs)
        try:
            rest = values(["", *left], known_only=True)[1:]
            return {spec.name: values[spec.name].value for spec in specs}, rest, problems
        except absl_flags.Error:  # the last argument is a flag without its value
            name = left.pop().lstrip("-")
            problems.append(Problem(name, None, "has no value", f"give it as --{name}=VALUE"))
        except ValueError as error:  # --noNAME=VALUE
            argument = str(error).removesuffix(" does not take an argument")
            left.remove(argument)
            name, _, value = argument.lstrip("-").partition("=")
            problems.append(
                Problem(name, value, "takes no value", f"use --{name}, or --{name.removeprefix('no')}={value}")
            )


def _unreadable(arguments: Sequence[str], error: Exception) -> Problem:
    """Which flag file cannot be read, and why."""
    cause = error.__context__
    if isinstance(cause, OSError):
        return Problem("flagfile", cause.filename, f"cannot be read ({cause.strerror})", "give an existing file")
    files = ",".join(_flag_files(arguments))
    return Problem("flagfile", files, "is not UTF-8 text", "write one --name=value a line")


def _flag_files(arguments: Sequence[str]) -> list[str]:
    """The files of --flagfile."""
    names = [argument.lstrip("-") if argument.startswith("-") else "" for argument in arguments]
    inline = [name.partition("=")[2] for name in names if name.startswith("flagfile=")]
    return inline + [value for name, value in zip(names, arguments[1:]) if name == "flagfile"]


def _unknown(argument: str, names: Sequence[str]) -> tuple[Problem, str | None]:
    """The problem of an argument that is not a flag, and the flag that was meant, if one is close."""
    if not argument.startswith("-"):
        return ArgumentProblem(argument, None, "is not a flag", "every setting is given as --name=value"), None
    name, _, value = argument.lstrip("-").partition("=")
    close = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean --{close[0]}?" if close else "see --help for the flags there are"
    return Problem(name, value or None, "is not a flag of this command", remedy), close[0] if close else None


def _default(spec: FlagSpec) -> Any:
    return None if spec.default is dataclasses.MISSING else spec.default


def _checked(spec: FlagSpec, value: Any) -> tuple[Any, Problem | None]:
    """A right value of a flag, the given one if it is right, and else what is wrong; None is a required flag that is
    absent.
    """
    if isinstance(value, _Invalid):
        return _default(spec), Problem(spec.name, value.text, "does not parse", f"give {value.expected}")
    if value is None and not spec.optional:
        return None, Problem(spec.name, None, "is missing", f"give it: {spec.help}")
    if spec.choices and value is not None and value not in spec.choices:
        close = difflib.get_close_matches(value, spec.choices, n=1)
        return (close or spec.choices)[0], Problem(spec.name, value, "is not known", suggestion(value, spec.choices))
    return value, None


def suggestion(value: str, choices: Sequence[str]) -> str:
    """The remedy for a value that is none of the choices: all of them, and the nearest one, if one is near."""
    close = difflib.get_close_matches(value, choices, n=1)
    return f"use one of {', '.join(choices)}" + (f"; did you mean {close[0]}?" if close else "")


def _right_values(spec: FlagSpec) -> Sequence[Any]:
    """Values that a flag may have, some of which ask for as little of others as any."""
    if spec.choices:
        return spec.choices
    numbers: tuple[float, ...] = (0, 1, 2, 1_000_000)
    return {bool: (False, True), int: numbers, float: (*numbers, 0.5)}.get(spec.kind, ())


def build(config_class: type[Config], settings: Mapping[str, Any]) -> Config:
    """A configuration from the value of every flag, unchecked."""
    hints = typing.get_type_hints(config_class)
    arguments = {
        field.name: build(hints[field.name], settings)
        if dataclasses.is_dataclass(hints[field.name])
        else settings[field.name]
        for field in dataclasses.fields(typing.cast(Any, config_class))
    }
    return config_class(**arguments)


def to_arguments(config: Any) -> list[str]:
    """The flags that give `config` again, one a line of a flag file; defaults are left out."""
    return [f"--{spec.name}={_text(spec, value)}" for spec, value in values(config) if value != spec.default]


def default_settings(config: Any, left_out: Collection[Any]) -> dict[str, str]:
    """The flags of `config` that have their defaults, which may be empty texts, without groups that are left out:
    `--name` -> value.
    """
    return {f"--{spec.name}": _text(spec, value) for spec, value in values(config, left_out) if value == spec.default}


def values(config: Any, left_out: Collection[Any] = ()) -> Iterator[tuple[FlagSpec, Any]]:
    """Yields every flag of `config` and its value, without groups that are left out."""
    unused = {spec.name for group in left_out for spec in flag_specs(type(group))}
    return ((spec, _value_of(config, spec.name)) for spec in flag_specs(type(config)) if spec.name not in unused)


def _text(spec: FlagSpec, value: Any) -> str:
    """A value as it is given to a flag; none is an empty text."""
    if value is None:
        return ""
    if spec.kind is tuple:
        return ",".join(value)
    return str(value).lower() if spec.kind is bool else str(value)


def _value_of(config: Any, name: str) -> Any:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            if field.name == name:
                return value
        elif any(spec.name == name for spec in flag_specs(typing.cast(type, type(value)))):
            return _value_of(value, name)
    raise KeyError(name)

"""The parts of configurations: frozen dataclasses, whose fields are flags or groups of flags."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from trainer.errors import Problem

Config = TypeVar("Config")
Group = TypeVar("Group", bound="FlagGroup")


def flag(text: str, *, default: Any = dataclasses.MISSING, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field that is a flag; without a default the flag is required."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


class FlagGroup:
    """Base of frozen dataclasses of flags that belong together, as `--help` shows them.

    Attributes:
        GROUP: the title in `--help`.
        FIELD: the field that holds the group in a command's configuration, and so its entry in `config.json`.
        ALTERNATIVES: flags of which one is to be given.
    """

    GROUP: ClassVar[str]
    FIELD: ClassVar[str]
    ALTERNATIVES: ClassVar[tuple[str, ...]] = ()

    def problems(self) -> Iterator[Problem]:
        """Yields what is wrong with the group by itself."""
        yield from ()

    def problems_in(self, config: Any) -> Iterator[Problem]:
        """Yields what does not fit the other flags of `config`, which holds this group."""
        yield from ()

    def without_effect(self, reason: str) -> Iterator[Problem]:
        """Yields a problem for each flag that has another value than its default."""
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = getattr(self, field.name)
            if value != field.default:
                shown = ",".join(value) if isinstance(value, tuple) else value
                yield Problem(field.name, shown, reason, "leave it out")


class Configuration:
    """Base of the frozen dataclasses of the commands: flags of the command itself, and groups of flags, some of which
    tasks bring.

    Attributes:
        GROUP: the title of the command's own flags in `--help`.
        TASK_GROUPS: task -> the groups that it has a use for; a group that is in none of these is for all tasks.
    """

    GROUP: ClassVar[str]
    TASK_GROUPS: ClassVar[Mapping[str, tuple[type[FlagGroup], ...]]] = {}

    @property
    def groups(self) -> tuple[FlagGroup, ...]:
        values = (getattr(self, field.name) for field in dataclasses.fields(typing.cast(Any, self)))
        return tuple(value for value in values if isinstance(value, FlagGroup))

    @property
    def groups_in_use(self) -> tuple[FlagGroup, ...]:
        """The groups that are checked: all, unless the flags themselves tell the task."""
        return self.groups

    def of(self, kind: type[Group]) -> Group:
        """The group of this class.

        Raises:
          LookupError: the configuration has none: it was made without the groups of the tasks
            (`trainer/tasks/configurations.py`).
        """
        for group in self.groups:
            if isinstance(group, kind):
                return group
        raise LookupError(f"{type(self).__name__} has no {kind.__name__}")

    def problems(self) -> Iterator[Problem]:
        """Yields everything that is wrong with the flags."""
        yield from self.command_problems()
        for group in self.groups_in_use:
            yield from group.problems()
            yield from group.problems_in(self)

    def command_problems(self) -> Iterator[Problem]:
        """Yields what is wrong with the command's own flags."""
        yield from ()

    def foreign_groups(self, task: str) -> tuple[FlagGroup, ...]:
        """The groups that only other tasks than this one have a use for."""
        fitting = self.TASK_GROUPS.get(task, ())
        others = {kind for kinds in self.TASK_GROUPS.values() for kind in kinds}.difference(fitting)
        return tuple(group for group in self.groups if type(group) in others)

    def foreign_problems(self, task: str, reason: str) -> Iterator[Problem]:
        """Yields a problem, `reason`, for each flag that was set though a task has no use for it."""
        for group in self.foreign_groups(task):
            yield from group.without_effect(reason)


def at_least(config: Any, smallest: float, *names: str) -> Iterator[Problem]:
    """Yields a problem for every named field below `smallest`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= smallest:
            yield Problem(name, value, f"is below {smallest}", f"use {smallest} or more")


def within(config: Any, low: float, high: float, *names: str) -> Iterator[Problem]:
    """Yields a problem for every named field outside [low, high)."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value < high:
            yield Problem(name, value, f"is outside [{low}, {high})", f"use a value from {low} to below {high}")


def to_dict(config: Any, task: str = "") -> dict[str, Any]:
    """The configuration as plain values; with a task, without the groups that only other tasks have a use for."""
    foreign = {group.FIELD for group in config.foreign_groups(task)} if task else set()
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in foreign}


def from_dict(config_class: type[Config], values: dict[str, Any], path: str = "") -> Config:
    """Rebuilds a configuration from `to_dict`'s result (or its JSON). Groups of tasks may be absent: they get their
    defaults.

    Raises:
      ValueError: a field is missing or unknown; the text names it.
    """
    hints = typing.get_type_hints(config_class)
    names = {field.name for field in dataclasses.fields(typing.cast(Any, config_class))}
    tasks = {kind.FIELD for kinds in getattr(config_class, "TASK_GROUPS", {}).values() for kind in kinds}
    for odd in sorted(names.symmetric_difference(values) - (tasks - set(values))):
        raise ValueError(f"{path}{odd} is {'missing' if odd in names else 'unknown'}")
    arguments = {}
    for name in names.intersection(values):
        value = values[name]
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(typing.cast(type, hints[name]), value, f"{path}{name}.")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**arguments)

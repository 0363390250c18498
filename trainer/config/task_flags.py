"""A task's part of the command line: the sources that it reads, and its groups of flags of each command."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trainer.config.fields import Configuration, FlagGroup

Config = TypeVar("Config", bound=Configuration)


@dataclass(frozen=True)
class TfdsFeatures:
    """The features that a task reads of each record of TensorFlow Datasets.

    Attributes:
        roles: names of the features in `--feature_map`.
        needs: what a record must have, for errors.
        are_series: whether the features are arrays of numbers; texts otherwise.
    """

    roles: tuple[str, ...]
    needs: str
    are_series: bool = False


@dataclass(frozen=True)
class TaskFlags:
    """The command line of a task.

    Attributes:
        sources: values of `--source` that it reads.
        file_sources: those of them that read the files of `--input`.
        sample: what the dataset of `--source=sample` is called.
        tfds: what it reads with `--source=tfds`.
        prepare, train, evaluate, export, predict: its groups of flags of each command.
    """

    sources: tuple[str, ...]
    file_sources: tuple[str, ...] = ()
    sample: str = "sample"
    tfds: TfdsFeatures | None = None
    prepare: tuple[type[FlagGroup], ...] = ()
    train: tuple[type[FlagGroup], ...] = ()
    evaluate: tuple[type[FlagGroup], ...] = ()
    export: tuple[type[FlagGroup], ...] = ()
    predict: tuple[type[FlagGroup], ...] = ()


def with_groups(
    base: type[Config],
    groups: Mapping[str, tuple[type[FlagGroup], ...]],
    module: str,
    fields: Iterable[tuple[str, Any, Any]] = (),
    **attributes: Any,
) -> type[Config]:
    """The configuration `base` with the groups of all tasks.

    Args:
      base: of a command.
      groups: task -> its groups; one that several tasks share is there once.
      module: that keeps the class under the name of `base`, by which other processes find it.
      fields: name, type and declaration of fields that replace those of `base`.
      attributes: of the class.
    """
    kinds = dict.fromkeys(kind for kinds in groups.values() for kind in kinds)
    added = [(kind.FIELD, kind, dataclasses.field(default_factory=kind)) for kind in kinds]
    namespace = {"__module__": module, "__doc__": base.__doc__, "TASK_GROUPS": dict(groups), **attributes}
    return dataclasses.make_dataclass(base.__name__, [*fields, *added], bases=(base,), frozen=True, namespace=namespace)

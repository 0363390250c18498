"""The tasks by their names, each a package of the same modules. No other module knows which tasks there are.

A package has `flags` (`FLAGS`), `facts` (`FACTS`), `prepare` (`find_sources`, `plan`), `task` (`TASK`, a `Task`) and
`predict` (`run`). It may have `inspection` (`inspect`), where more than its files can be told of a dataset, and
`evaluate` (`run`), where an evaluation can be more than `Task.evaluate`. Commands import what they need.

Packages beyond ours register by an entry point of the group `recurrent_trainer.tasks`, whose name is the task's and
whose value is the package (see docs/adding_a_task.md).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING, Any

from trainer.config.task_flags import TaskFlags
from trainer.config.train import TrainConfig
from trainer.dataset.schema import Facts, Manifest

if TYPE_CHECKING:
    from trainer.tasks.task import Task  # imports TensorFlow, which `prepare` does without

ENTRY_POINTS = "recurrent_trainer.tasks"
OURS = ("forecast", "language_model", "seq2seq")


@functools.cache
def packages() -> dict[str, str]:
    """Task -> its package: ours, then the registered ones by their names."""
    others = {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)}
    return {name: f"trainer.tasks.{name}" for name in OURS} | {
        name: others[name] for name in sorted(others) if name not in OURS
    }


def part(task: str, name: str) -> Any:
    """Module `name` of a task's package."""
    return importlib.import_module(f"{packages()[task]}.{name}")


def has_part(task: str, name: str) -> bool:
    return importlib.util.find_spec(f"{packages()[task]}.{name}") is not None


def flags_of(task: str) -> TaskFlags:
    """A task's part of the command line."""
    flags: TaskFlags = part(task, "flags").FLAGS
    return flags


def facts_type(task: str) -> type[Facts] | None:
    """The dataclass of what a task's dataset.json tells; None where there is no such task."""
    return part(task, "facts").FACTS if task in packages() else None


def task_for(config: TrainConfig, manifest: Manifest) -> Task:
    """The task that a dataset is for."""
    task: Task = part(manifest.task, "task").TASK(config, manifest)
    return task

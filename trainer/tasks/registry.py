"""The tasks by their names, each a package of the same modules. No other module knows which tasks there are.

A package has `prepare` (`find_sources`, `plan`), `task` (`TASK`, a `Task`) and `predict` (`run`); it may have `backtesting`
(`backtest_evaluation`). What other tasks need is not imported.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from trainer.config.train import TASKS, TrainConfig
from trainer.dataset.schema import Manifest

if TYPE_CHECKING:
    from trainer.tasks.task import Task  # imports TensorFlow, which `prepare` does without

PACKAGES = {name: f"trainer.tasks.{name}" for name in TASKS}


def part(task: str, name: str) -> Any:
    """Module `name` of a task's package."""
    return importlib.import_module(f"{PACKAGES[task]}.{name}")


def has_part(task: str, name: str) -> bool:
    return importlib.util.find_spec(f"{PACKAGES[task]}.{name}") is not None


def task_for(config: TrainConfig, manifest: Manifest) -> Task:
    """The task that a dataset is for."""
    task: Task = part(manifest.task, "task").TASK(config, manifest)
    return task

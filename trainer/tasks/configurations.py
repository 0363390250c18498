"""The configurations of the commands with the flags of all tasks. Code that only reads one is annotated with its base
in `config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.config import prepare, train, trained_model
from trainer.config.fields import flag
from trainer.config.task_flags import with_groups
from trainer.tasks import registry

_TASKS = {task: registry.flags_of(task) for task in registry.packages()}
_SOURCES: dict[str, list[str]] = {}  # --source -> the tasks that read it
for _task, _flags in _TASKS.items():
    for _source in _flags.sources:
        _SOURCES.setdefault(_source, []).append(_task)
_READERS = "; ".join(f"{source} ({', '.join(tasks)})" for source, tasks in _SOURCES.items())

if TYPE_CHECKING:  # as types the bases do: the groups of tasks are reached by `of`
    from trainer.config.prepare import PrepareConfig
    from trainer.config.train import TrainConfig
    from trainer.config.trained_model import EvaluateConfig, ExportConfig, PredictConfig
else:
    PrepareConfig = with_groups(
        prepare.PrepareConfig,
        {task: flags.prepare for task, flags in _TASKS.items()},
        __name__,
        fields=(
            ("task", str, flag("what the sequences are for", choices=tuple(_TASKS))),
            ("source", str, flag(f"where they come from: {_READERS}", choices=tuple(_SOURCES))),
        ),
        TASKS=_TASKS,
    )
    TrainConfig = with_groups(train.TrainConfig, {task: flags.train for task, flags in _TASKS.items()}, __name__)
    EvaluateConfig = with_groups(
        trained_model.EvaluateConfig, {task: flags.evaluate for task, flags in _TASKS.items()}, __name__
    )
    ExportConfig = with_groups(
        trained_model.ExportConfig, {task: flags.export for task, flags in _TASKS.items()}, __name__
    )
    PredictConfig = with_groups(
        trained_model.PredictConfig, {task: flags.predict for task, flags in _TASKS.items()}, __name__
    )

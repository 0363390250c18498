"""From a dataset's task name to the task."""

from __future__ import annotations

from trainer.config.train import TrainConfig
from trainer.dataset.schema import Manifest
from trainer.tasks.forecast.task import ForecastTask
from trainer.tasks.language_model.task import LanguageTask
from trainer.tasks.seq2seq.task import Seq2SeqTask
from trainer.tasks.task import Task

TASKS: dict[str, type[Task]] = {"forecast": ForecastTask, "language_model": LanguageTask, "seq2seq": Seq2SeqTask}


def task_for(config: TrainConfig, manifest: Manifest) -> Task:
    """The task that a dataset is for."""
    return TASKS[manifest.task](config, manifest)

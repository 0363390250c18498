"""Scores a trained model on a split, every example counted, beside the baselines that it has to beat."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli.command import run_command
from trainer.cli.lean_imports import without_matplotlib
from trainer.cli.quiet import banner_hidden
from trainer.config.splits import splits_through
from trainer.errors import ConfigError, DataError, Problem
from trainer.reports.summary import summary_of
from trainer.reports.tables import SCORES_FILE, write_tables
from trainer.storage.workspace import Workspace
from trainer.tasks import datasets
from trainer.tasks.configurations import EvaluateConfig
from trainer.tasks.registry import has_part, part
from trainer.training import run_files
from trainer.training.run_facts import run_facts

if TYPE_CHECKING:
    import keras

    from trainer.tasks.task import MakeTask


def main(config: EvaluateConfig) -> dict[str, Any]:
    storage = config.storage
    with Workspace() as space:
        local = dataclasses.replace(
            config,
            model_dir=space.read(config.model_dir, run_files.needed),
            data_dir=space.dataset(
                config.data_dir, splits_through(config.split), storage.cache_gigabytes, stream=storage.gcs == "stream"
            ),
            report_dir=space.write(config.report_dir),
        )
        # what `_evaluate` leaves beside the model
        space.write(run_files.evaluation_file(config.model_dir, config.split, whole_split=config.scores_split))
        space.begin()
        result: dict[str, Any] = space.to_addresses(_evaluate(local))
    return result


def _evaluate(config: EvaluateConfig) -> dict[str, Any]:
    run_config, trained_on = run_files.read_for(config)
    manifest = datasets.read(config.data_dir)
    if manifest.task != trained_on.task:
        raise DataError(
            f"{config.data_dir} is a {manifest.task} dataset, the model was trained for {trained_on.task}; give another"
        )
    if reason := trained_on.facts.difference(manifest.facts):
        raise DataError(f"{config.data_dir} {reason}")
    if config.split not in manifest.splits:
        raise ConfigError(
            [Problem("split", config.split, f"is not in {config.data_dir}", f"use {' or '.join(manifest.splits)}")]
        )
    with banner_hidden(), without_matplotlib():
        from trainer.reports.learning_curves import learning_curves
        from trainer.reports.page import write_report
        from trainer.training.refit import refitted
        from trainer.training.restore import restored, restored_model, weights_checksum

    run_config = dataclasses.replace(run_config, data_dir=config.data_dir)
    weights = config.checkpoint, config.average_checkpoints

    def refit(make_task: MakeTask) -> keras.Model:
        with refitted(run_config, manifest, make_task) as model_dir:
            return restored(make_task(run_config, manifest), model_dir, *weights)[0]

    task, model, step = restored_model(run_config, manifest, config.model_dir, *weights)
    if has_part(manifest.task, "evaluate"):
        evaluation = part(manifest.task, "evaluate").run(task, model, config, refit)
    else:
        evaluation = task.evaluate(model, config)
    result = {"split": config.split, "step": step, "weights": weights_checksum(model), **evaluation.scores}
    scores = run_files.evaluation_file(config.model_dir, config.split, whole_split=config.scores_split)
    run_files.note_evaluation(scores, manifest, result)
    write_tables(result, config.report_dir)
    if config.report_dir:
        curves = learning_curves(
            run_files.read_metrics(config.model_dir), task.objective.score_name, task.objective.higher_is_better
        )
        sections = [*evaluation.sections(), *([curves] if curves else [])]
        facts = run_facts(run_config, manifest, run_files.read_versions(config.model_dir))
        write_report(config.report_dir, result, evaluation.headline, sections, facts)
    shown = str(Path(config.report_dir) / SCORES_FILE) if config.report_dir else scores
    return summary_of(result, evaluation.headline.metric, shown)


if __name__ == "__main__":
    run_command("trainer.evaluate", __doc__ or "", EvaluateConfig, main)

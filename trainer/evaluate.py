"""Scores a trained model on a split, every example counted, beside the baselines that it has to beat."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer.command import run_command
from trainer.config import SPLITS, EvaluateConfig, check_conformal
from trainer.data import manifest as manifests
from trainer.errors import ConfigError, DataError, Problem
from trainer.evaluation.tables import write_tables
from trainer.lean_imports import without_matplotlib
from trainer.quiet import banner_hidden
from trainer.storage.workspace import Workspace
from trainer.training import run_files


def main(config: EvaluateConfig) -> dict[str, Any]:
    own = config.storage
    with Workspace() as space:
        splits = SPLITS[: SPLITS.index(config.split) + 1]  # those before it too: lookbacks reach into them, baselines are fitted on train
        local = dataclasses.replace(
            config,
            model_dir=space.read(config.model_dir, "model_dir", run_files.needed),
            data_dir=space.dataset(config.data_dir, splits, own.cache_gigabytes, stream=own.gcs == "stream"),
            report_dir=space.write(config.report_dir, "report_dir"),
        )
        space.begin()
        result: dict[str, Any] = space.told(_evaluate(local))
    return result


def _evaluate(config: EvaluateConfig) -> dict[str, Any]:
    run_config, trained_on = run_files.read(config.model_dir)
    check_conformal(config.conformal, run_config.forecast)
    manifest = manifests.read(config.data_dir)
    if manifest.task != trained_on.task:
        raise DataError(f"{config.data_dir} is a {manifest.task} dataset, the model was trained for {trained_on.task}; give another")
    if manifest.vocabularies != trained_on.vocabularies:
        raise DataError(f"{config.data_dir} has another vocabulary than the model was trained with; give the dataset of the training run")
    if config.split not in manifest.splits:
        raise ConfigError([Problem("split", config.split, f"is not in {config.data_dir}", f"use {' or '.join(manifest.splits)}")])
    with banner_hidden(), without_matplotlib():
        from trainer.serving.restored import restored_model

    task, model, step = restored_model(
        dataclasses.replace(run_config, data_dir=config.data_dir), manifest, config.model_dir, config.checkpoint, config.average_checkpoints
    )
    result = {"split": config.split, "step": step, **task.evaluate(model, config)}
    write_tables(result, config.report_dir)
    return result


if __name__ == "__main__":
    run_command("trainer.evaluate", __doc__ or "", EvaluateConfig, main)

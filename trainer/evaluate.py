"""Scores a trained model on a split, every example counted, beside the baselines that it has to beat."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer.command import run_command
from trainer.config import EvaluateConfig, check_conformal
from trainer.data import manifest as manifests
from trainer.errors import ConfigError, DataError, Problem
from trainer.evaluation.tables import write_tables
from trainer.lean_imports import without_matplotlib
from trainer.quiet import banner_hidden
from trainer.training import run_files


def main(config: EvaluateConfig) -> dict[str, Any]:
    run_config, trained_on = run_files.read(config.model_dir)
    check_conformal(config.conformal, run_config.forecast)
    manifest = manifests.read(config.data_dir)
    if manifest.task != trained_on.task:
        raise DataError(f"{config.data_dir} is a {manifest.task} dataset, the model was trained for {trained_on.task}; give another")
    if manifest.vocabularies != trained_on.vocabularies:
        raise DataError(f"{config.data_dir} has another vocabulary than the model was trained with; give the dataset of the training run")
    if manifest.covariates != trained_on.covariates:
        raise DataError(f"{config.data_dir} has other known or static columns than the model was trained with; prepare it with the same")
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

"""Exports a trained model as a SavedModel that a serving system loads without our code."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer.command import run_command
from trainer.config import ExportConfig, check_conformal
from trainer.lean_imports import without_matplotlib
from trainer.quiet import banner_hidden
from trainer.training import run_files
from trainer.training.run_facts import run_facts


def main(config: ExportConfig) -> dict[str, Any]:
    run_config, manifest = run_files.read(config.model_dir)
    check_conformal(config.conformal, run_config.forecast)
    with banner_hidden(), without_matplotlib():
        from trainer.serving.model_card import CARD_FILE, model_card
        from trainer.serving.restored import restored_model, weights_checksum
        from trainer.serving.saved_model import export

    # whatever a task needs besides the weights lies in the model directory; the dataset may be gone, but for a calibration
    data_dir = (config.data_dir or run_config.data_dir) if config.conformal != "none" else config.model_dir
    run_config = dataclasses.replace(run_config, data_dir=data_dir)
    task, model, step = restored_model(run_config, manifest, config.model_dir, config.checkpoint, config.average_checkpoints)
    weights = weights_checksum(model)
    facts = run_facts(run_config, manifest, run_files.read_versions(config.model_dir))
    card = model_card(
        task, step, weights, run_files.read_metrics(config.model_dir), run_files.read_evaluations(config.model_dir, weights), facts
    )
    return {**export(task.serving(model, config), config.export_dir, {CARD_FILE: card}), "step": step}


if __name__ == "__main__":
    run_command("trainer.export", __doc__ or "", ExportConfig, main)

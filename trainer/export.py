"""Exports a trained model as a SavedModel that a serving system loads without our code."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from trainer.cli.command import run_command
from trainer.cli.lean_imports import without_matplotlib
from trainer.cli.quiet import banner_hidden
from trainer.config import places
from trainer.config.places import Places
from trainer.config.splits import SPLITS
from trainer.config.storage import CACHE_GIGABYTES
from trainer.dataset import manifest as manifests
from trainer.errors import ConfigError, DataError
from trainer.saved_model.versions import PUBLISHED_LAST, versions_among
from trainer.storage.workspace import Workspace
from trainer.tasks.configurations import ExportConfig
from trainer.training import run_files
from trainer.training.run_facts import run_facts


def main(config: ExportConfig) -> dict[str, Any]:
    with Workspace() as space:
        local = dataclasses.replace(
            config,
            model_dir=space.read(config.model_dir, run_files.needed),
            export_dir=space.write(config.export_dir, PUBLISHED_LAST),
        )
        for version in versions_among(space.names(config.export_dir)):  # the new one gets a number above
            (Path(local.export_dir) / str(version)).mkdir(parents=True)
        result: dict[str, Any] = space.to_addresses(_export(local, space))
    return result


def _export(config: ExportConfig, space: Workspace) -> dict[str, Any]:
    run_config, manifest = run_files.read_for(config)
    data_dir = config.model_dir  # holds what a task needs besides the weights; the dataset may be gone
    if reading := config.reading_groups(run_config):
        data_dir = config.data_dir or run_config.data_dir
        read, written = {"data_dir": data_dir}, {"export_dir": space.to_addresses(config.export_dir)}
        if problems := list(places.problems(Places(read_directories=read, written_directories=written))):
            raise ConfigError(problems)
        data_dir = space.dataset(data_dir, SPLITS, CACHE_GIGABYTES)
        if not (Path(data_dir) / manifests.MANIFEST_FILE).is_file():
            reason = f"{data_dir} holds no dataset, which this export reads"
            raise DataError(f"{reason}; give its --data_dir, or {reading[0].without_data}")
        space.begin()
    with banner_hidden(), without_matplotlib():
        from trainer.saved_model.model_card import CARD_FILE, model_card
        from trainer.saved_model.saved_model import export
        from trainer.tasks.serving import with_fixed_batch
        from trainer.training.restore import restored_model, weights_checksum

    run_config = dataclasses.replace(run_config, data_dir=data_dir)
    task, model, step = restored_model(
        run_config, manifest, config.model_dir, config.checkpoint, config.average_checkpoints
    )
    weights = weights_checksum(model)
    facts = run_facts(run_config, manifest, run_files.read_versions(config.model_dir))
    card = model_card(
        task,
        step,
        weights,
        run_files.read_metrics(config.model_dir),
        run_files.read_evaluations(config.model_dir, weights),
        facts,
    )
    serving = with_fixed_batch(task.serving(model, config), config.batch_size)
    return {**export(serving, config.export_dir, {CARD_FILE: card}), "step": step}


if __name__ == "__main__":
    run_command("trainer.export", __doc__ or "", ExportConfig, main)

"""Exports of models with random weights."""

from __future__ import annotations

from pathlib import Path

from series_runs import untrained

from trainer.cli import flags
from trainer.tasks.configurations import ExportConfig, TrainConfig


def export_of(config: TrainConfig, directory: Path, *options: str) -> Path:
    """An export of a model with random weights, the same ones for the same model."""
    import keras

    from trainer.saved_model.saved_model import export
    from trainer.tasks.serving import with_fixed_batch

    keras.utils.set_random_seed(1)
    task, model = untrained(config)
    wanted = flags.parse(ExportConfig, ["--model_dir=m", f"--export_dir={directory}", *options])
    return Path(export(with_fixed_batch(task.serving(model, wanted), wanted.batch_size), str(directory))["path"])

"""Trains a recurrent model on a prepared dataset; the same command again resumes where it stopped."""

from __future__ import annotations

from typing import Any

from trainer.command import run_command
from trainer.config import TrainConfig
from trainer.data import manifest as manifests
from trainer.quiet import banner_hidden
from trainer.training import run_files


def main(config: TrainConfig) -> dict[str, Any]:
    manifest = manifests.read(config.data_dir)
    if not config.debug.dry_run:
        run_files.check_resumable(config, manifest)
    with banner_hidden():
        from trainer.training.run import train  # imports TensorFlow, which takes seconds: only once the configuration is right

    return train(config, manifest)


if __name__ == "__main__":
    run_command("trainer.train", __doc__ or "", TrainConfig, main)

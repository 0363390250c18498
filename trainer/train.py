"""Trains a recurrent model on a prepared dataset; the same command again resumes where it stopped."""

from __future__ import annotations

from functools import partial

from trainer.training.preemption import Preemption

if __name__ == "__main__":
    with Preemption() as preemption:  # before the other imports: SIGTERM gives 75 from here on
        from trainer.cli.command import run_command
        from trainer.tasks.configurations import TrainConfig
        from trainer.training.start import start

        run_command("trainer.train", __doc__ or "", TrainConfig, partial(start, preemption=preemption))

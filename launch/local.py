"""Trains with several worker processes on this host, as a cluster would: `python -m launch.local --workers=2 --
--data_dir=...`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import recurrent_trainer
from launch.arguments import check_separator, sides, split
from launch.gpus import gpu_environment, visible_gpus
from launch.supervision import Worker, supervise
from trainer.cli import flags, streams
from trainer.cli.flag_help import help_text, wants_help
from trainer.config.fields import at_least, flag
from trainer.errors import EXIT_DONE, ConfigError, Problem
from trainer.tasks.configurations import TrainConfig

EXAMPLE = "python -m launch.local --workers=2 -- --data_dir=DATA --model_dir=MODEL --epochs=1"


@dataclass(frozen=True)
class LocalConfig:
    """`python -m launch.local`."""

    GROUP: ClassVar[str] = "launch"

    workers: int = flag("worker processes, each with an address of its own on this host", default=1)
    devices_per_worker: int = flag("devices that each worker uses", default=1)
    restarts: int = flag("how often all workers are started again after one was lost or left with 75", default=3)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "workers", "devices_per_worker")
        yield from at_least(self, 0, "restarts")


def parse(arguments: Sequence[str]) -> tuple[LocalConfig, TrainConfig]:
    """The launcher's flags before `--` and the trainer's behind it.

    Raises:
      ConfigError: what is wrong with either.
    """
    check_separator(arguments, "launch.local", EXAMPLE)
    parts = sides(*split(arguments), LocalConfig, TrainConfig)
    problems = list(parts.problems)
    has_devices = any(argument.lstrip("-").partition("=")[0] == "devices_per_worker" for argument in parts.trainers)
    if has_devices:
        problems.append(Problem("devices_per_worker", None, "stands behind --", "give it to launch.local, before --"))
    reading = flags.read(LocalConfig, parts.launchers)
    devices = (
        [] if has_devices or reading.config is None else [f"--devices_per_worker={reading.config.devices_per_worker}"]
    )
    train = flags.read(TrainConfig, [*parts.trainers, *devices])
    problems += reading.problems + train.problems
    if reading.config is None or train.config is None or problems:
        raise ConfigError(problems)
    return reading.config, train.config


def workers_of(local: LocalConfig, config: TrainConfig, gpus: Sequence[str]) -> list[Worker]:
    """Each worker's command, and the GPUs that it sees.

    Raises:
      ConfigError: this host has GPUs, but not enough for all workers.
    """
    needed = local.workers * local.devices_per_worker
    if gpus and needed > len(gpus):
        reason = (
            f"with --devices_per_worker={local.devices_per_worker} needs {needed} GPUs, this host shows {len(gpus)}"
        )
        raise ConfigError(
            [Problem("workers", local.workers, reason, "use fewer, or CUDA_VISIBLE_DEVICES= to train on CPUs")]
        )
    return [
        Worker(command(config), gpu_environment(gpus, index, local.devices_per_worker))
        for index in range(local.workers)
    ]


def command(config: TrainConfig) -> list[str]:
    """Every worker's command: this very code, whatever lies in the working directory; which worker it is stands in its
    environment.
    """
    return [sys.executable, recurrent_trainer.__file__, "trainer.train", *flags.to_arguments(config)]


def main(arguments: Sequence[str]) -> int:
    if wants_help(split(arguments)[0]):
        text = help_text("launch.local", __doc__ or "", LocalConfig)
        sys.stdout.write(f"{text}\n\nBehind --: the flags of python -m trainer.train.\n")
        return EXIT_DONE
    streams.protect()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for text in recurrent_trainer.mixed_packages():
        logging.getLogger("launch").warning(text)
    try:
        local, config = parse(arguments)
        workers = workers_of(local, config, visible_gpus(os.environ))
    except ConfigError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        return error.exit_code
    return supervise(workers, local.restarts, config.device.grace_seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

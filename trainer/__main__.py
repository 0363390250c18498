"""`python -m trainer`: the version, and the commands that there are."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recurrent_trainer import DISTRIBUTION
from trainer import __version__
from trainer.cli.command import finish
from trainer.cli.flag_help import wants_help
from trainer.errors import ConfigError, Problem

COMMANDS = {
    "trainer.prepare": "raw series, text or pairs of texts -> a dataset",
    "trainer.inspect": "tells what a dataset holds, and checks it",
    "trainer.train": "trains a model on a dataset, or goes on with a run that was stopped",
    "trainer.evaluate": "scores a trained model beside baselines, and writes a report",
    "trainer.export": "a trained model -> a SavedModel for serving systems",
    "trainer.predict": "forecasts, completes or translates with an exported model",
    "launch.local": "trains with several processes of this host",
    "launch.kubernetes": "runs the commands on a Kubernetes cluster",
}


def main(arguments: Sequence[str]) -> str:
    """The text for stdout.

    Raises:
      ConfigError: another argument than --help or --version.
    """
    if not arguments or wants_help(arguments):
        lines = [f"  {script_of(module):<29}python -m {module:<19}{text}" for module, text in COMMANDS.items()]
        return "\n".join(
            [f"{DISTRIBUTION} {__version__}: its commands, as scripts and as modules, each with --help", "", *lines]
        )
    if list(arguments) == ["--version"]:
        return f"{DISTRIBUTION} {__version__}"
    module = f"trainer.{arguments[0]}"
    reason = f"and --version are all that python -m trainer takes, not {' '.join(arguments)}"
    raise ConfigError(
        [Problem("help", None, reason, f"run python -m {module if module in COMMANDS else 'trainer --help'}")]
    )


def script_of(module: str) -> str:
    """The console script of a command: `recurrent-train`, `recurrent-launch-local`."""
    return "recurrent-" + module.removeprefix("trainer.").replace(".", "-")


if __name__ == "__main__":
    finish(lambda: main(sys.argv[1:]))

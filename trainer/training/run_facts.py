"""Facts of a run for its readers: its data, settings and versions, as words."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.cli import flags
from trainer.config.train import TrainConfig
from trainer.dataset.schema import Manifest

Facts = dict[str, dict[str, str]]  # title -> name -> value
PLACES = ("--data_dir", "--model_dir")


def run_facts(config: TrainConfig, manifest: Manifest, versions: Mapping[str, str]) -> Facts:
    """`Data`, `Settings` (flags that differ from their defaults, as on the command line, without paths), `Defaults` and
    `Versions`.

    `Defaults` are the flags that the run left as they are, of its task; a dash stands for none.
    """
    arguments = [argument.partition("=") for argument in flags.to_arguments(config)]
    settings = {name: value for name, _, value in arguments if name not in PLACES}
    foreign = config.foreign_groups(manifest.task)
    defaults = {name: value or "–" for name, value in flags.default_settings(config, foreign).items()}
    data = {
        "name": manifest.name,
        "task": manifest.task,
        "fingerprint": manifest.fingerprint,
        **manifest.facts.described(),
    }
    return {"Data": data, "Settings": settings, "Defaults": defaults, "Versions": dict(versions)}

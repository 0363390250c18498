"""Configurations from values instead of command lines."""

from typing import Any

from trainer.cli import flags
from trainer.tasks.configurations import PrepareConfig


def prepare_config(task: str, source: str, output_dir: str, **settings: Any) -> PrepareConfig:
    """The configuration of `prepare` with these flags, the others at their defaults; nothing is checked."""
    values = {spec.name: spec.default for spec in flags.flag_specs(PrepareConfig)}
    return flags.build(PrepareConfig, values | {"task": task, "source": source, "output_dir": output_dir} | settings)

"""Writes docs/flags.md, the flags of all commands: `make docs`."""

from __future__ import annotations

from pathlib import Path

from launch.kubernetes import LogsFlags, SubmitFlags
from launch.local import LocalConfig
from trainer.cli.flag_tables import flag_tables
from trainer.config.inspect import InspectConfig
from trainer.tasks import configurations

PAGE = Path(__file__).with_name("flags.md")
COMMANDS = {
    "trainer.prepare": (configurations.PrepareConfig, ""),
    "trainer.inspect": (InspectConfig, ""),
    "trainer.train": (configurations.TrainConfig, ""),
    "trainer.evaluate": (configurations.EvaluateConfig, ""),
    "trainer.export": (configurations.ExportConfig, ""),
    "trainer.predict": (configurations.PredictConfig, ""),
    "launch.local": (LocalConfig, "Behind `--` stand the flags of `trainer.train`."),
    "launch.kubernetes submit": (
        SubmitFlags,
        "`render` takes the same but `--follow`. Behind `--` stand the flags of the trainer's command.",
    ),
    "launch.kubernetes logs": (LogsFlags, "`status` and `cancel` take `--name` and `--namespace` of these."),
}
INTRODUCTION = """# Flags

<!-- written by `make docs`; edit docs/make_flags.py or the dataclasses of the flags instead -->

Every command takes `--flagfile=FILE`, one flag a line, and `--help`; `python -m trainer` lists the commands, and with
`--version` tells the version. Each is installed as a script too: `recurrent-prepare`, `recurrent-train`, ...,
`recurrent-launch-local`, `recurrent-launch-kubernetes`, and `recurrent-trainer` for `python -m trainer`.

`trainer.train` takes `--recipe=NAME`, ready settings by name from any directory; flags of the command line win, and
`--recipe=help` lists the names (ETTh1: `etth1_96` to `etth1_720`, with a lookback of 96 `etth1_96_lookback96` and so
on, and `etth1_96_quantiles`). Their errors beside ridge regression, with three seeds, are in
[benchmarks/RESULTS.md](../benchmarks/RESULTS.md).

The packages are called `trainer` and `launch`, as others are (PyPI's `trainer`, ROS's `launch`): install into an
environment of its own. Where another distribution has overwritten ours or has files among them, or a folder hides
them, the scripts say so. `python -m` cannot always: with a folder `trainer/` in the working directory, `python -m
trainer.train` is that folder's, or `No module named trainer.train`.

A group that names a task in brackets, or is called as one, is for datasets of that task: set for another, its flags
are refused.
"""


def page() -> str:
    """The text of docs/flags.md."""
    parts = [INTRODUCTION]
    for command, (config_class, note) in COMMANDS.items():
        parts.append(
            "\n".join([f"## `python -m {command}`", *(["", note] if note else []), flag_tables(config_class), ""])
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""The text of `--help`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from trainer.cli import recipe
from trainer.cli.flags import flag_specs


def help_text(command: str, summary: str, config_class: type) -> str:
    """The text of `--help`: the command's own flags, grouped by stage."""
    files = "[--recipe=NAME, or help] [--flagfile=FILE]" if recipe.applies_to(config_class) else "[--flagfile=FILE]"
    lines = [summary.strip(), "", f"usage: python -m {command} {files} --name=value ...", ""]
    group = None
    for spec in flag_specs(config_class):
        if spec.group != group:
            group = spec.group
            lines += ["", f"{group}:"] if lines[-1] else [f"{group}:"]
        choices = f" ({', '.join(spec.choices)})" if spec.choices else ""
        if spec.default is dataclasses.MISSING:
            default = " [required]"
        elif spec.default in (None, "", ()):
            default = ""
        else:
            default = f" [{','.join(spec.default) if spec.kind is tuple else spec.default}]"
        lines.append(f"  --{spec.name}{choices}{default}\n      {spec.help}")
    return "\n".join(lines)


def wants_help(arguments: Sequence[str]) -> bool:
    return any(argument in ("--help", "-help", "-h", "--helpfull", "-?") for argument in arguments)

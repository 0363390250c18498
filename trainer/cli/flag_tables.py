"""The flags of a configuration as Markdown tables, one a group."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from trainer.cli.flags import FlagSpec, flag_specs


def flag_tables(config_class: type) -> str:
    """A heading and a table for each group, in the order of `--help`."""
    groups = itertools.groupby(flag_specs(config_class), key=lambda spec: spec.group)
    return "\n".join(line for group, specs in groups for line in _table(group, specs))


def _table(group: str, specs: Iterator[FlagSpec]) -> Iterator[str]:
    yield from ("", f"**{group}**", "", "| flag | default | choices | meaning |", "| --- | --- | --- | --- |")
    for spec in specs:
        choices = ", ".join(f"`{choice}`" for choice in spec.choices)
        yield f"| `--{spec.name}` | {_default(spec)} | {choices} | {spec.help.replace('|', '/')} |"


def _default(spec: FlagSpec) -> str:
    if spec.default is dataclasses.MISSING:
        return "required"
    if spec.default in (None, "", ()):
        return ""
    if spec.kind is tuple:
        return f"`{','.join(spec.default)}`"
    return f"`{str(spec.default).lower() if spec.kind is bool else spec.default}`"

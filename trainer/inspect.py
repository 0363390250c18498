"""Tells what a dataset holds: splits, counts, lengths, vocabulary or statistics, decoded examples; --verify checks
every shard.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.cli.command import run_command
from trainer.config.inspect import InspectConfig
from trainer.config.splits import SPLITS
from trainer.dataset.shard_files import verify_files
from trainer.storage.workspace import Workspace
from trainer.tasks import datasets, inspection
from trainer.tasks.registry import has_part, part

MOST_SERIES = 20  # in the table; the JSON has all
MOST_CHARACTERS = 100  # of an example in the table


def main(config: InspectConfig) -> dict[str, Any]:
    with Workspace() as space:
        data_dir = space.dataset(config.data_dir, SPLITS, config.cache_gigabytes)
        space.begin()
        result: dict[str, Any] = space.to_addresses(_inspect(dataclasses.replace(config, data_dir=data_dir)))
    sys.stdout.write("\n".join(_lines(result)) + "\n")
    return result


def _inspect(config: InspectConfig) -> dict[str, Any]:
    manifest = datasets.read(config.data_dir)
    inspect = part(manifest.task, "inspection").inspect if has_part(manifest.task, "inspection") else inspection.inspect
    verified = verify_files(config.data_dir, manifest) if config.verify else None
    return {
        "data_dir": config.data_dir,
        "name": manifest.name,
        "task": manifest.task,
        "fingerprint": manifest.fingerprint,
        "created_by": manifest.created_by,
        "verified_shards": verified,
        **inspect(config.data_dir, manifest, config.examples),
    }


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The result for people."""
    data = f"{result['data_dir']}: {result['name']}, {result['task']}"
    yield f"{data}, fingerprint {result['fingerprint']}, written by {result['created_by']}"
    yield ""
    yield from _table([{"split": name, **_flat(split)} for name, split in result["splits"].items()])
    if "series" in result:
        yield f"\nsteps: {result['interval']}; mean and std of the training rows"
        yield from _table(result["series"][:MOST_SERIES])
        if len(result["series"]) > MOST_SERIES:
            yield f"and {len(result['series']) - MOST_SERIES} more series"
    for side, vocabulary in _vocabularies(result):
        frequent = " ".join(json.dumps(entry["token"], ensure_ascii=False) for entry in vocabulary["frequent"])
        sizes = f"{vocabulary['size']} {vocabulary['tokenizer']} tokens, {vocabulary['unused']} not in training"
        yield f"\n{side}: {sizes}; most often {frequent}"
    for split, examples in result["examples"].items():
        for example in examples:
            shown = json.dumps(example, ensure_ascii=False)
            yield f"\n{split}: {shown if len(shown) <= MOST_CHARACTERS else shown[:MOST_CHARACTERS] + '…'}"
    if result["verified_shards"] is not None:
        yield f"\n{result['verified_shards']} shards are as they were written"


def _vocabularies(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    counts = result.get("vocabulary", {})
    if "source" in counts:
        yield from (
            (f"{side} vocabulary", counts[side]) for side in (("source",) if counts["joint"] else ("source", "target"))
        )
    elif counts:
        yield "vocabulary", counts


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values within values by joined names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of a table, turned where it would be wide: a column an entry."""
    names = list(rows[0])
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    if len(names) > 2 * len(rows) or len(names) > MOST_SERIES:
        cells = [list(column) for column in zip(*cells)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        head, *rest = (
            cell.ljust(width) if not index else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths))
        )
        yield "  ".join([head, *rest]).rstrip()


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_command("trainer.inspect", __doc__ or "", InspectConfig, main)

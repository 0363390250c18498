"""`python -m trainer.prepare`: raw data -> a dataset directory of TFRecord shards."""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainer.command import run_command
from trainer.config import PrepareConfig
from trainer.data import forecast_records, manifest
from trainer.data.csv_series import RawSeries, find_files, read_csv
from trainer.data.forecast_records import Group
from trainer.data.sample_series import sample_series
from trainer.errors import ConfigError, Problem

SUMMARY = """
Turns raw series into a dataset directory for trainer.train.

Each file of --input is split in time order by --splits. Files of --validation_input and --test_input lie wholly in that split;
--input then has no part in it, and its share of --splits goes to train.
"""
POOL_BYTES = 16 << 20  # parsing less takes no longer than starting a pool

_log = logging.getLogger("trainer.prepare")


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Writes the dataset; gives records, rows and shards of it, see `trainer.data.forecast_records.write_dataset` for errors."""
    started = time.perf_counter()
    manifest.check_new(config.output_dir)  # before the work, not after it
    processes = config.num_processes or _cores()
    if config.source == "sample":
        series = sample_series(config.seed)
        groups = [Group(series, forecast_records.split_rows(len(series.values), config.splits, series.source))]
    else:
        groups = _read_groups(config, processes)
    written = forecast_records.write_dataset(groups, config.output_dir, config.num_shards, processes)
    splits = written.splits
    size = sum(split.bytes for split in splits.values())
    shards = sum(len(split.shards) for split in splits.values())
    result = {
        "output_dir": config.output_dir,
        "records": {name: split.records for name, split in splits.items()},
        "rows": {name: sum(last - first for first, last in _ranges(groups, name)) for name in splits},
        "series": len(groups) * len(groups[0].series.columns),
        "shards": shards,
        "bytes": size,
        "fingerprint": written.fingerprint,
        "seconds": round(time.perf_counter() - started, 3),
    }
    _log.info("wrote %s: %d shards, %.1f MB", config.output_dir, shards, size / 1e6)
    return result


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # those that a container may use
    return os.cpu_count() or 1


def _ranges(groups: Sequence[Group], split: str) -> list[tuple[int, int]]:
    return [group.splits[split] for group in groups if split in group.splits]


def _read_groups(config: PrepareConfig, processes: int) -> list[Group]:
    """The groups of all files: those of --input by --splits, the others wholly in their split."""
    given = {"train": find_files(config.input), "validation": [], "test": []}
    given["validation"] = find_files(config.validation_input, "validation_input")
    given["test"] = find_files(config.test_input, "test_input")
    paths = [path for files in given.values() for path in files]
    twice = [path for path, count in Counter(os.path.realpath(path) for path in paths).items() if count > 1]
    if twice:
        raise ConfigError([Problem("input", twice[0], "is named twice or in two splits", "name each file once")])
    everything = dict(zip(paths, _distinct(_read_files(paths, config.date_column, processes))))
    elsewhere = [split for split in ("validation", "test") if given[split]]
    groups = []
    for split, files in given.items():
        for path in files:
            rows = len(everything[path].values)
            own = forecast_records.split_rows(rows, config.splits, path, elsewhere) if split == "train" else {split: (0, rows)}
            groups.append(Group(everything[path], own))
    return groups


def _read_files(paths: Sequence[str], date_column: str, processes: int) -> list[RawSeries]:
    size = sum(Path(path).stat().st_size for path in paths)
    reading = forecast_records.run_jobs(functools.partial(read_csv, date_column=date_column), paths, processes if size > POOL_BYTES else 1)
    return list(tqdm(reading, total=len(paths), unit=" files", desc="read", disable=not sys.stderr.isatty()))


def _distinct(series: Sequence[RawSeries]) -> list[RawSeries]:
    """The series, named by their paths where file names alone would not tell them apart."""
    counts = Counter(each.name for each in series)
    return [each if counts[each.name] == 1 else replace(each, name=each.source) for each in series]


if __name__ == "__main__":
    run_command("trainer.prepare", SUMMARY, PrepareConfig, prepare)

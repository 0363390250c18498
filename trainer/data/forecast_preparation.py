"""`prepare --task=forecast`: CSV files or the sample -> a dataset of series."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainer.config import PrepareConfig
from trainer.data import forecast_records
from trainer.data.csv_series import RawSeries, read_csv
from trainer.data.forecast_records import Group
from trainer.data.input_files import find_split_files
from trainer.data.manifest import Manifest
from trainer.data.parallel import run_jobs
from trainer.data.sample_series import SAMPLE_FILE, sample_series, write_csv
from trainer.data.split_borders import split_borders

POOL_BYTES = 16 << 20  # parsing less takes no longer than starting a pool


def prepare_forecast(config: PrepareConfig, processes: int) -> tuple[Manifest, dict[str, Any]]:
    """Writes the dataset; gives its manifest and rows and series of it.

    Raises:
      DataError, ConfigError, StorageError: as `read_csv`, `find_files`, `split_borders` and `write_dataset`.
    """
    if config.source == "sample":
        series = sample_series(config.seed)
        groups = [Group(series, split_borders(len(series.values), config.splits, series.source, "rows"))]
    else:
        groups = _read_groups(config, processes)
    written = forecast_records.write_dataset(groups, config.output_dir, config.num_shards, processes)
    if config.source == "sample":
        write_csv(series, Path(config.output_dir) / SAMPLE_FILE)
    rows = {name: sum(last - first for first, last in _ranges(groups, name)) for name in written.splits}
    return written, {"rows": rows, "series": len(groups) * len(groups[0].series.columns)}


def _ranges(groups: Sequence[Group], split: str) -> list[tuple[int, int]]:
    return [group.splits[split] for group in groups if split in group.splits]


def _read_groups(config: PrepareConfig, processes: int) -> list[Group]:
    """The groups of all files: those of --input by --splits, the others wholly in their split."""
    given = find_split_files(config)
    paths = [path for files in given.values() for path in files]
    everything = dict(zip(paths, _distinct(_read_files(paths, config.date_column, processes))))
    elsewhere = [split for split in ("validation", "test") if given[split]]
    groups = []
    for split, files in given.items():
        for path in files:
            rows = len(everything[path].values)
            own = split_borders(rows, config.splits, path, "rows", elsewhere) if split == "train" else {split: (0, rows)}
            groups.append(Group(everything[path], own))
    return groups


def _read_files(paths: Sequence[str], date_column: str, processes: int) -> list[RawSeries]:
    size = sum(Path(path).stat().st_size for path in paths)
    reading = run_jobs(functools.partial(read_csv, date_column=date_column), paths, processes if size > POOL_BYTES else 1)
    return list(tqdm(reading, total=len(paths), unit=" files", desc="read", disable=not sys.stderr.isatty()))


def _distinct(series: Sequence[RawSeries]) -> list[RawSeries]:
    """The series, named by their paths where file names alone would not tell them apart."""
    counts = Counter(each.name for each in series)
    return [each if counts[each.name] == 1 else replace(each, name=each.source) for each in series]

"""`prepare --task=forecast`: CSV files, arrays, TensorFlow Datasets or the sample -> a dataset of series."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainer.data import forecast_records, tfds_source
from trainer.data.array_series import read_npy
from trainer.data.csv_series import RawSeries, read_csv
from trainer.data.forecast_records import Group
from trainer.data.input_files import find_split_files, readable
from trainer.data.manifest import Manifest
from trainer.data.parallel import run_jobs
from trainer.data.sample_series import SAMPLE_FILE, sample_series, write_csv
from trainer.data.split_borders import split_borders
from trainer.prepare_config import PrepareConfig

POOL_BYTES = 16 << 20  # parsing less takes no longer than starting a pool


def prepare_forecast(config: PrepareConfig, processes: int) -> tuple[Manifest, dict[str, Any]]:
    """Writes the dataset; gives its manifest and rows and series of it.

    Raises:
      DataError, ConfigError, StorageError: as `read_csv`, `read_npy`, `open_source`, `find_files`, `split_borders` and `write_dataset`.
    """
    given = _given(config, processes)
    groups = _grouped(given, config)
    written = forecast_records.write_dataset(groups, config.output_dir, config.num_shards, processes)
    if config.source == "sample":
        write_csv(given["train"][0], Path(config.output_dir) / SAMPLE_FILE)
    rows = {name: sum(last - first for first, last in _ranges(groups, name)) for name in written.splits}
    return written, {"rows": rows, "series": len(groups) * len(groups[0].series.columns)}


def _ranges(groups: Sequence[Group], split: str) -> list[tuple[int, int]]:
    return [group.splits[split] for group in groups if split in group.splits]


def _grouped(given: Mapping[str, Sequence[RawSeries]], config: PrepareConfig) -> list[Group]:
    """The groups of all series: those of train by --splits, the others wholly in their split."""
    elsewhere = [split for split in ("validation", "test") if given.get(split)]
    groups = []
    for split, series in given.items():
        for each in series:
            rows = len(each.values)
            own = split_borders(rows, config.splits, each.source, "rows", elsewhere) if split == "train" else {split: (0, rows)}
            groups.append(Group(each, own))
    return groups


def _given(config: PrepareConfig, processes: int) -> dict[str, list[RawSeries]]:
    """Split -> its series; those of train are to be split."""
    if config.source == "sample":
        return {"train": [sample_series(config.seed)]}
    if config.source == "tfds":
        return tfds_source.read_series(tfds_source.open_source(config))
    files = find_split_files(config)
    series = iter(_distinct(_read_files([path for paths in files.values() for path in paths], config, processes)))
    return {split: [next(series) for _ in paths] for split, paths in files.items()}


def _read_files(paths: Sequence[str], config: PrepareConfig, processes: int) -> list[RawSeries]:
    size = sum(Path(path).stat().st_size for path in paths)
    from_csv = functools.partial(
        read_csv, date_column=config.date_column, known_columns=config.known_future_columns, static_columns=config.static_columns
    )
    read = read_npy if config.source == "npy" else from_csv
    reading = run_jobs(read, paths, processes if size > POOL_BYTES else 1)
    return list(tqdm(reading, total=len(paths), unit=" files", desc="read", disable=not sys.stderr.isatty()))


def _distinct(series: Sequence[RawSeries]) -> list[RawSeries]:
    """The series, named by their paths where file names alone would not tell them apart."""
    counts = Counter(each.name for each in series)
    return [each if counts[each.name] == 1 else replace(each, name=readable(each.source)) for each in series]

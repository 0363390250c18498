"""`prepare --task=forecast`: CSV files, arrays, TensorFlow Datasets or the sample -> the plan of a dataset of
series.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.prepare import PrepareConfig
from trainer.config.splits import SPLITS
from trainer.dataset.handoff import Handover
from trainer.dataset.input_files import find_split_files, readable
from trainer.dataset.preparation import DatasetPlan
from trainer.dataset.schema import Manifest, Split
from trainer.dataset.split_borders import split_borders
from trainer.tasks import tfds_source
from trainer.tasks.forecast.data.array_series import read_npy
from trainer.tasks.forecast.data.covariates import describe_known, describe_static
from trainer.tasks.forecast.data.csv_series import RawSeries, read_csv
from trainer.tasks.forecast.data.records import check_alike, series_features, series_shards
from trainer.tasks.forecast.data.sample_series import SAMPLE_FILE, sample_series, write_csv
from trainer.tasks.forecast.data.series_spool import Group, Statistics, spool, spooled_files, standardisation, unspool
from trainer.tasks.forecast.data.tfds_series import read_series
from trainer.tasks.forecast.facts import KnownColumn, SeriesFacts, SeriesGroup, StaticColumn
from trainer.tasks.forecast.flags import SeriesFlags

COARSE = 1e5  # |mean| / std above which float32 (7 digits) keeps less than two digits of the variation

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeriesSource:
    """Series of one split that are read together; those of train are to be split. Instances can be sent to other
    processes.
    """

    split: str
    read: Callable[[], list[RawSeries]]


def find_sources(config: PrepareConfig) -> list[SeriesSource]:
    """The sources to read, in order; raises DataError or ConfigError as `find_split_files` and `open_source`."""
    if config.source == "sample":
        return [SeriesSource("train", partial(_sample, config.seed))]
    if config.source == "tfds":
        return [
            SeriesSource(split, partial(read_series, config, split, piece))
            for split, (source,) in tfds_source.pieces(config).items()
            for piece in range(source.pieces)
        ]
    return [
        SeriesSource(split, partial(_read_file, path, config))
        for split, paths in find_split_files(config).items()
        for path in paths
    ]


def plan(sources: Sequence[SeriesSource], config: PrepareConfig, parts: Handover) -> DatasetPlan:
    """The dataset of series. Reads every source once and leaves it in arrays.

    Raises:
      DataError: as `read_csv`, `read_npy`, `split_borders` and `plan_groups`.
    """
    elsewhere = tuple(split for split in ("validation", "test") if any(source.split == split for source in sources))
    jobs = [
        (f"{parts.directory}/series-{number:06d}", source, elsewhere, config.splits)
        for number, source in enumerate(sources)
    ]
    groups = _distinct(
        [
            unspool(parts.directory, described)
            for spooled in parts.together("series", _read, jobs, spooled_files)
            for described in spooled
        ]
    )
    for group in groups:
        if "train" in group.splits:
            split_borders(group.rows, config.splits, group.source, "rows", elsewhere)  # tells of rows in no split
    return plan_groups(groups, config.num_shards, parts, partial(_save, config))


def plan_groups(groups: Sequence[Group], num_shards: int, parts: Handover, save: Callable[[Path], None]) -> DatasetPlan:
    """The dataset of groups that are on the disk.

    Groups without training rows are standardised by the pooled training rows of the others.

    Raises:
      DataError: groups differ in columns or interval.
    """
    check_alike(groups)
    for group in groups:
        if "train" in group.splits:
            _warn_coarse(group)
    if any(group.statistics is None for group in groups):
        pooled = json.loads(parts.content("pooled.json", partial(_pooled, groups)))
        groups = [group if group.statistics else replace(group, statistics=pooled) for group in groups]
    there = [split for split in SPLITS if any(split in group.splits for group in groups)]
    describe = partial(_describe, groups, describe_known(groups), describe_static(groups))
    return DatasetPlan({split: series_shards(groups, split, num_shards) for split in there}, describe, save)


def _sample(seed: int) -> list[RawSeries]:
    return [sample_series(seed)]


def _read_file(path: str, config: PrepareConfig) -> list[RawSeries]:
    if config.source == "npy":
        return [read_npy(path)]
    series = config.of(SeriesFlags)
    return [
        read_csv(
            path, series.date_column, known_columns=series.future_covariates, static_covariates=series.static_covariates
        )
    ]


def _read(job: tuple[str, SeriesSource, tuple[str, ...], tuple[str, ...]]) -> list[dict[str, Any]]:
    """Reads one source and leaves its series on the disk."""
    path, source, elsewhere, splits = job
    placed = []
    for series in source.read():
        rows = len(series.values)
        train = source.split == "train"
        placed.append(
            (
                series,
                split_borders(rows, splits, series.source, "rows", elsewhere) if train else {source.split: (0, rows)},
            )
        )
    return spool(path, placed)


def _distinct(groups: Sequence[Group]) -> list[Group]:
    """The groups, named by their paths where file names alone would not tell them apart."""
    counts = Counter(each.name for each in groups)
    return [each if counts[each.name] == 1 else replace(each, name=readable(each.source)) for each in groups]


def _pooled(groups: Sequence[Group]) -> bytes:
    return json.dumps(
        standardisation([group.values(*group.splits["train"]) for group in groups if "train" in group.splits])
    ).encode()


def _warn_coarse(group: Group) -> None:
    assert group.statistics is not None
    mean, std = map(np.array, group.statistics)
    for column in np.flatnonzero((np.abs(mean) / std > COARSE) & (std != 1.0)):
        text = (
            "%s: column %s varies by %.3g around %.6g, which float32 resolves coarsely; subtract a constant from "
            "it first"
        )
        _log.warning(text, group.source, group.columns[column], std[column], mean[column])


def _save(config: PrepareConfig, directory: Path) -> None:
    if config.source == "sample":
        write_csv(sample_series(config.seed), directory / SAMPLE_FILE)


def _describe(
    groups: Sequence[Group],
    known: tuple[KnownColumn, ...],
    static: tuple[StaticColumn, ...],
    name: str,
    splits: dict[str, Split],
    counts: dict[str, Counter[str]],
) -> tuple[Manifest, dict[str, Any]]:
    """The manifest, rows of each split, and number of series."""
    described = tuple(
        SeriesGroup(
            group.name,
            group.rows,
            group.first_time,
            group.splits,
            *_tuples(group.statistics),
            tuple(group.static.values()),
        )
        for group in groups
    )
    facts = SeriesFacts(groups[0].columns, groups[0].interval, described, known, static)
    features = series_features(len(facts.columns), dated=facts.interval is not None, known_columns=len(known))
    written = Manifest(name, "forecast", features, splits, facts)
    rows = {split: counter["rows"] for split, counter in counts.items()}
    return written, {"rows": rows, "series": len(groups) * len(facts.columns)}


def _tuples(statistics: Statistics | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    assert statistics is not None
    return tuple(statistics[0]), tuple(statistics[1])

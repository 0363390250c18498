"""Forecasting records -> the series of a dataset in memory, checked and standardised.

A dataset of series is small beside the windows that are cut from it (every row stands in lookback + horizon windows),
so the series are held in memory and the windows are never stored.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config.splits import splits_through
from trainer.dataset.record_files import read_checked, record_shards
from trainer.dataset.schema import Manifest
from trainer.dataset.shard_files import check_files
from trainer.errors import DataError
from trainer.tasks.forecast.data import covariates
from trainer.tasks.forecast.data.series_slices import SeriesSlice
from trainer.tasks.forecast.facts import SeriesFacts


@dataclass(frozen=True)
class GroupSeries:
    """One group of a dataset.

    `values: [T, D]` float32 standardised, 0 where missing; `observed: [T, D]` bool; `times: [T]` int64;
    `known: [T, K]` and `static: [J]` float32 standardised.
    """

    name: str
    values: np.ndarray
    observed: np.ndarray
    times: np.ndarray | None
    splits: dict[str, tuple[int, int]]
    known: np.ndarray
    static: np.ndarray


def load(data_dir: str, manifest: Manifest, split: str) -> list[GroupSeries]:
    """The series of every group, up to and including `split`: the lookback of a window may reach into the split before.

    Raises:
      DataError: the dataset has no such split, or a shard is missing, truncated or damaged.
    """
    facts = SeriesFacts.of(manifest)
    if split not in manifest.splits:
        raise DataError(
            f"{data_dir} has no {split} split, it has {', '.join(manifest.splits)}; prepare it with --splits that "
            "give one"
        )
    splits = tuple(name for name in splits_through(split) if name in manifest.splits)
    paths = check_files(data_dir, manifest, splits)
    columns = len(facts.columns)
    ends = [
        max((group.splits[name][1] for name in splits if name in group.splits), default=0) for group in facts.groups
    ]
    values = [np.zeros((end, columns), np.float32) for end in ends]
    observed = [np.zeros((end, columns), bool) for end in ends]
    times = [np.zeros(end, np.int64) for end in ends] if facts.interval else None
    known = [np.zeros((end, len(facts.known)), np.float32) for end in ends]
    read = [np.zeros(end, np.int64) for end in ends]  # how often each row was there
    for record in read_checked(_parsed(paths, columns, times is not None, len(facts.known)), paths):
        group, start = int(record["group"]), int(record["start"])
        rows = slice(start, start + record["values"].shape[0])
        if not (0 <= group < len(ends) and start >= 0 and rows.stop <= ends[group]):
            raise DataError(
                f"{paths[0]} and its siblings hold rows that dataset.json tells nothing of; prepare the dataset again"
            )
        read[group][rows] += 1
        values[group][rows] = record["values"].numpy()
        observed[group][rows] = record["observed"].numpy() != 0
        if facts.known:
            known[group][rows] = covariates.standardised(record["known"].numpy(), facts)
        if times is not None:
            times[group][rows] = record["time"].numpy()
    if any((counts != 1).any() for counts in read):
        raise DataError(f"{paths[0]} and its siblings lack rows, or hold some twice; prepare the dataset again")
    series = []
    static = covariates.static_features(facts)
    for index, group_facts in enumerate(facts.groups):
        mean, std = np.asarray(group_facts.mean), np.asarray(group_facts.std)
        standard = np.where(observed[index], (values[index] - mean) / std, 0.0).astype(np.float32)
        if not np.isfinite(standard).all():
            row, column = (int(place[0]) for place in np.nonzero(~np.isfinite(standard)))
            place = f"row {row}, column {facts.columns[column]} of {group_facts.name}"
            raise DataError(
                f"{paths[0]} and its siblings: {place} is marked as observed and no finite number; prepare the "
                "dataset again"
            )
        times_here = times[index] if times else None
        stored = GroupSeries(
            group_facts.name, standard, observed[index], times_here, group_facts.splits, known[index], static[index]
        )
        series.append(stored)
    return series


def _parsed(paths: list[str], columns: int, with_times: bool, known_columns: int) -> tf.data.Dataset:
    schema = {
        "group": tf.io.FixedLenFeature([], tf.int64),
        "start": tf.io.FixedLenFeature([], tf.int64),
        "values": tf.io.FixedLenFeature([], tf.string),
        "observed": tf.io.FixedLenFeature([], tf.string),
    }
    if with_times:
        schema["time"] = tf.io.FixedLenFeature([], tf.string)
    if known_columns:
        schema["known"] = tf.io.FixedLenFeature([], tf.string)

    def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_single_example(record, schema)
        parsed["values"] = tf.reshape(tf.io.decode_raw(parsed["values"], tf.float32), [-1, columns])
        parsed["observed"] = tf.reshape(tf.io.decode_raw(parsed["observed"], tf.uint8), [-1, columns])
        if known_columns:
            parsed["known"] = tf.reshape(tf.io.decode_raw(parsed["known"], tf.float32), [-1, known_columns])
        if with_times:
            parsed["time"] = tf.io.decode_raw(parsed["time"], tf.int64)
        return parsed

    return record_shards(paths).map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def cut(group: GroupSeries, end: int, splits: dict[str, tuple[int, int]]) -> GroupSeries:
    """The rows of a group before `end`, split otherwise."""
    times = None if group.times is None else group.times[:end]
    kept = {name: getattr(group, name)[:end] for name in ("values", "observed", "known")}
    return dataclasses.replace(group, **kept, times=times, splits=splits)


def segments(groups: list[GroupSeries], split: str, multivariate: bool) -> list[SeriesSlice]:
    """The stretches of `split` to cut windows from: one a group (`multivariate`), or one a series.

    A training window starts within the split; elsewhere its lookback may reach back over the border.
    """
    cut = []
    for index, group in enumerate(groups):
        if split not in group.splits:
            continue
        first, end = group.splits[split]
        columns = group.values.shape[1]
        for channels in [tuple(range(columns))] if multivariate else [(column,) for column in range(columns)]:
            cut.append(
                SeriesSlice(
                    values=group.values[:end, list(channels)],
                    observed=group.observed[:end, list(channels)],
                    first_target=first,
                    last_target_end=end,
                    series=tuple(index * columns + channel for channel in channels),
                    times=None if group.times is None else group.times[:end],
                    known=group.known[:end],
                    static=group.static,
                )
            )
    return cut


def series_names(manifest: Manifest) -> list[str]:
    """Names of all series in the order of `SeriesSlice.series`: the column, with the group before it where there are
    several.
    """
    facts = SeriesFacts.of(manifest)
    several = len(facts.groups) > 1
    return [f"{group.name}/{column}" if several else column for group in facts.groups for column in facts.columns]

"""Series to a dataset directory: whole, readable by TFDS, standardised without leaking, never half-written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from trainer.dataset import manifest
from trainer.dataset.handoff import Handover
from trainer.dataset.preparation import DatasetPlan, make_dataset
from trainer.dataset.schema import Manifest
from trainer.dataset.tfrecord import RecordWriter, scan
from trainer.errors import DataError, LocationError, StorageError
from trainer.tasks import datasets
from trainer.tasks.forecast.data.csv_series import RawSeries
from trainer.tasks.forecast.data.intervals import Interval
from trainer.tasks.forecast.data.series_spool import spool, standardisation, unspool
from trainer.tasks.forecast.facts import SeriesFacts
from trainer.tasks.forecast.prepare import plan_groups

HOUR = Interval(3600, "second")


def series(rows: int, columns: int = 2, name: str = "a", dated: bool = True, seed: int = 0) -> RawSeries:
    random = np.random.default_rng(seed)
    values = random.normal(5, 3, (rows, columns)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    times = 1577836800 + 3600 * np.arange(rows) if dated else None
    return RawSeries(name, tuple("abcdefgh"[:columns]), values, times, HOUR if dated else None, f"{name}.csv")


@dataclass(frozen=True)
class Group:
    series: RawSeries
    splits: dict[str, tuple[int, int]]


def write_dataset(groups: list[Group], output_dir: str, num_shards: int, processes: int = 1) -> Manifest:
    def plan(parts: Handover) -> DatasetPlan:
        found = [
            spool(f"{parts.directory}/series-{number}", [(group.series, group.splits)])
            for number, group in enumerate(groups)
        ]
        return plan_groups(
            [unspool(parts.directory, own) for (own,) in found], num_shards, parts, lambda directory: None
        )

    written = make_dataset(output_dir, "d", {}, plan, processes, facts=SeriesFacts).manifest
    assert written is not None
    return written


def two_groups() -> list[Group]:
    first, second = series(5000), series(300, name="b", seed=1)
    return [
        Group(first, {"train": (0, 4500), "validation": (4500, 5000)}),
        Group(second, {"train": (0, 200), "validation": (200, 300)}),
    ]


def test_standardisation_of_observed_values_only() -> None:
    nan = np.nan
    values = np.array([[1, 7, nan, 0.1, nan], [nan, 7, nan, 0.1, 4], [3, nan, nan, 0.1, nan]], np.float32)
    mean, std = standardisation([values])
    np.testing.assert_allclose(mean, [2, 7, 0, np.float32(0.1), 4])
    np.testing.assert_array_equal(std, [1, 1, 1, 1, 1])
    many = np.random.default_rng(0).normal(1e4, 2, (10000, 1)).astype(np.float32)
    mean, std = standardisation([many])
    np.testing.assert_allclose(
        (mean[0], std[0]), (many.astype(np.float64).mean(), many.astype(np.float64).std()), rtol=1e-12
    )
    # no rounding may make a constant column vary: its std is 1, not 1e-17
    constants = np.random.default_rng(1).lognormal(0, 20, 200).astype(np.float32)
    assert set(standardisation([np.tile(constants, (9973, 1))])[1]) == {1.0}


def test_tfds_reads_the_very_values(tf: Any, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    groups = two_groups()
    written = write_dataset(groups, str(tmp_path / "d"), num_shards=3)
    assert written.name == "d"
    assert datasets.read(str(tmp_path / "d")) == written
    builder = tfds.builder_from_directory(str(tmp_path / "d"))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        name: split.records for name, split in written.splits.items()
    }
    for split in ("train", "validation"):
        seen = [np.zeros(len(group.series.values), int) for group in groups]
        for record in tfds.as_numpy(builder.as_dataset(split=split)):
            truth = groups[record["group"]].series
            rows = slice(record["start"], record["start"] + len(record["values"]))
            seen[record["group"]][rows] += 1
            missing = np.isnan(truth.values[rows])
            assert record["values"].dtype == np.float32
            np.testing.assert_array_equal(record["values"], np.where(missing, 0, truth.values[rows]))
            np.testing.assert_array_equal(record["observed"], ~missing)
            assert truth.times is not None
            np.testing.assert_array_equal(record["time"], truth.times[rows])
        for group, counts in zip(groups, seen):
            expected = np.zeros_like(counts)
            expected[slice(*group.splits[split])] = 1
            np.testing.assert_array_equal(counts, expected)  # every row once, and none of another split


def test_undated_series_have_no_time(tf: Any, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    write_dataset(
        [Group(series(20, columns=1, dated=False), {"test": (0, 10), "train": (10, 20)})], str(tmp_path / "d"), 2
    )
    builder = tfds.builder_from_directory(str(tmp_path / "d"))
    assert sorted(builder.info.features) == ["group", "observed", "start", "values"]
    assert [record["values"].shape for record in tfds.as_numpy(builder.as_dataset(split="test"))] == [(5, 1), (5, 1)]


def test_manifest_describes_the_files(tmp_path: Path) -> None:
    written = write_dataset(two_groups(), str(tmp_path / "d"), num_shards=8)
    files = {path.name: path.read_bytes() for path in (tmp_path / "d").glob("*.tfrecord*")}
    shards = [shard for split in written.splits.values() for shard in split.shards]
    assert {shard.file for shard in shards} == set(files)
    for shard in shards:
        assert shard.bytes == len(files[shard.file])
        assert int(shard.crc32c, 16) == google_crc32c.value(files[shard.file])
        assert shard.records >= 1
    assert [shard.file for shard in written.splits["train"].shards][7] == "d-train.tfrecord-00007-of-00008"
    assert SeriesFacts.of(written).interval == HOUR
    assert [group.first_time for group in SeriesFacts.of(written).groups] == [1577836800] * 2


@pytest.mark.parametrize(("rows", "shards", "expected"), [(3, 8, 3), (8, 8, 8), (9, 8, 8), (20000, 2, 2)])
def test_every_shard_has_a_record_and_none_is_too_long(tmp_path: Path, rows: int, shards: int, expected: int) -> None:
    written = write_dataset([Group(series(rows), {"train": (0, rows)})], str(tmp_path / "d"), shards)
    counts = [shard.records for shard in written.splits["train"].shards]
    assert len(counts) == expected
    assert counts == ([3, 3] if rows == 20000 else [1] * expected)  # 10,000 rows are three records of at most 4096


def test_processes_write_the_same_bytes(tmp_path: Path) -> None:
    alone = write_dataset(two_groups(), str(tmp_path / "one" / "d"), 4, processes=1)
    assert write_dataset(two_groups(), str(tmp_path / "two" / "d"), 4, processes=2) == alone


def test_standardisation_sees_training_rows_only(tmp_path: Path) -> None:
    groups = two_groups()
    plain = write_dataset(groups, str(tmp_path / "a"), 1)
    for group in groups:
        group.series.values[group.splits["validation"][0] :] *= 1000
    shifted = write_dataset(groups, str(tmp_path / "b"), 1)
    before, after = SeriesFacts.of(plain), SeriesFacts.of(shifted)
    assert [(g.mean, g.std) for g in after.groups] == [(g.mean, g.std) for g in before.groups]
    assert before.groups[0].mean != before.groups[1].mean
    assert shifted.fingerprint != plain.fingerprint


def test_groups_without_training_rows_take_the_pooled_statistics(tmp_path: Path) -> None:
    groups = [*two_groups(), Group(series(50, name="c", seed=2), {"test": (0, 50)})]
    written = write_dataset(groups, str(tmp_path / "a"), 1)
    pooled = np.concatenate([group.series.values[slice(*group.splits["train"])] for group in groups[:2]]).astype(
        np.float64
    )
    np.testing.assert_allclose(SeriesFacts.of(written).groups[2].mean, np.nanmean(pooled, axis=0))
    np.testing.assert_allclose(SeriesFacts.of(written).groups[2].std, np.nanstd(pooled, axis=0))


def test_groups_that_do_not_fit_together(tmp_path: Path) -> None:
    def write(other: RawSeries) -> None:
        write_dataset([Group(series(20), {"train": (0, 20)}), Group(other, {"train": (0, 20)})], str(tmp_path / "d"), 1)

    with pytest.raises(DataError, match=r"b\.csv has another number of columns \(3 columns, a\.csv has 2\)"):
        write(series(20, columns=3, name="b"))
    with pytest.raises(DataError, match=r"b\.csv has column 'b' instead of 'a'"):
        write(RawSeries("b", ("b", "a"), series(20).values, series(20).times, HOUR, "b.csv"))
    with pytest.raises(DataError, match=r"b\.csv has steps of no dates, a\.csv of 3600 seconds"):
        write(series(20, name="b", dated=False))
    assert list(tmp_path.iterdir()) == []


def test_columns_that_float32_resolves_coarsely_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = np.stack([1e6 + np.arange(20) % 2, np.arange(20), np.full(20, 1e7)], axis=1).astype(np.float32)
    raw = RawSeries("a", ("far", "near", "constant"), values, None, None, "a.csv")
    write_dataset([Group(raw, {"train": (0, 20)})], str(tmp_path / "d"), 1)
    assert [record.args[1] for record in caplog.records if record.levelname == "WARNING"] == ["far"]  # type: ignore[index]


def test_an_existing_directory_is_never_touched(tmp_path: Path) -> None:
    groups = [Group(series(20), {"train": (0, 20)})]
    target = tmp_path / "d"
    target.mkdir()
    write_dataset(groups, str(target), 1)  # an empty one may be used
    before = {path: path.read_bytes() for path in target.iterdir()}
    with pytest.raises(LocationError, match="holds a dataset; choose another, or delete it"):
        write_dataset(groups, str(target), 1)
    assert {path: path.read_bytes() for path in target.iterdir()} == before
    (target / "dataset.json").unlink()
    with pytest.raises(LocationError, match="is not an empty directory"):
        write_dataset(groups, str(target), 1)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RecordWriter.write

    def fail_late(self: RecordWriter, record: bytes) -> None:
        if "00002-of" in self.path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, record)

    monkeypatch.setattr(RecordWriter, "write", fail_late)
    with pytest.raises(StorageError, match=r"/d cannot be written \(No space left on device\); free the space"):
        write_dataset(two_groups(), str(tmp_path / "d"), 4)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from test_forecast_records import two_groups, write_dataset
from trainer.dataset import preparation
write = preparation.write_shard
def write_or_die(job):
    if "00002-of" in job.path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(job)
preparation.write_shard = write_or_die
write_dataset(two_groups(), sys.argv[1], 4)
"""


def test_a_killed_run_leaves_no_dataset_and_does_not_disturb_the_next(tmp_path: Path) -> None:
    target = tmp_path / "d"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(target)],
        cwd=Path(__file__).parents[4],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left != target
    assert len(list(left.glob("d-train*"))) == 2
    running = tmp_path / left.name.replace(f"-{left.name.split('-')[-2]}-", f"-{os.getpid()}-")
    running.mkdir()  # of a run that is still at work
    written = write_dataset(two_groups(), str(target), 4)
    assert datasets.read(str(target)) == written
    assert set(tmp_path.iterdir()) == {target, running}


def test_json_files_hold_plain_json(tmp_path: Path) -> None:
    write_dataset(two_groups(), str(tmp_path / "d"), 1)
    names = {"dataset.json", "dataset_info.json", "features.json"}
    assert {path.name for path in (tmp_path / "d").glob("*.json")} == names
    for name in names:
        json.loads((tmp_path / "d" / name).read_text(), parse_constant=pytest.fail)  # called for NaN and Infinity


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_told_where_checksums_fit(tf: Any, tmp_path: Path, number: float) -> None:
    """The file was made so: a finding of the fuzzer."""
    from trainer.tasks.forecast.data import series_store
    from trainer.tasks.forecast.inspection import inspect

    own = series(40)
    own.values[7, 1] = 123456.0
    directory = tmp_path / "data"
    made = write_dataset([Group(own, {"train": (0, 40)})], str(directory), 1)
    (shard,) = made.splits["train"].shards
    records = list(scan(directory / shard.file))
    with RecordWriter(directory / shard.file) as writer:
        for record in records:
            writer.write(record.replace(np.float32(123456.0).tobytes(), np.float32(number).tobytes()))
    lie = replace(shard, crc32c=writer.crc32c)
    assert lie != shard and writer.bytes == shard.bytes
    manifest.write(replace(made, splits={"train": replace(made.splits["train"], shards=(lie,))}), directory)
    with pytest.raises(
        DataError, match=r"d-train\.tfrecord.*row 7, column b of a is marked as observed and no finite number; prepare"
    ):
        series_store.load(str(directory), datasets.read(str(directory)), "train")
    with pytest.raises(DataError, match=r"d-train\.tfrecord.*marked as observed is not a finite number"):
        inspect(str(directory), datasets.read(str(directory)), 3)

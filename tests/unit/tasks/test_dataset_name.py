"""What a dataset is called, and that its name is no part of what tells data apart."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configured import prepare_config
from series_runs import train_config, write_series_csv

from trainer.config.prepare import LONGEST_NAME
from trainer.dataset.tfds_files import file_prefix
from trainer.errors import ConfigError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.dataset_name import dataset_name
from trainer.training.run_files import check_resumable, write


def forecast(output_dir: Path, **settings: Any) -> PrepareConfig:
    given: dict[str, Any] = {
        "task": "forecast",
        "source": "csv",
        "output_dir": str(output_dir),
        "splits": ("0.7", "0.1", "0.2"),
        "num_shards": 2,
    }
    return prepare_config(**{**given, **settings})


def test_file_prefixes_that_tfds_accepts() -> None:
    names = {
        "ETTh1": "etth1",
        "My Data-2": "my_data_2",
        "2024": "dataset_2024",
        "Über": "ber",
        "数据": "dataset",
        "a/b": "a_b",
    }
    assert {name: file_prefix(name) for name in names} == names


@pytest.mark.parametrize(
    "files, others, name",
    [
        (["load.csv"], [], "load"),
        (["Load 2024.v2.csv"], [], "Load 2024.v2"),
        (["store_01.csv", "store_02.csv", "store_10.csv"], [], "store"),
        (["store_10.csv", "store_12.csv"], [], "store"),  # not store_1
        (["berlin.csv", "bern.csv", "rome.csv"], [], "berlin and 2 more"),
        (["m4_hourly_train.csv"], ["m4_hourly_test.csv"], "m4_hourly"),
        (["train.en", "train.de"], ["val.en", "val.de"], "train.en-de"),
        (["2019/load.csv", "2020/load.csv"], [], "load"),
        (["数据_1.csv", "数据_2.csv"], [], "数据"),
        (["caf\udce9.csv"], [], "caf\ufffd"),
        (["a\nb.csv"], [], "a b"),
        ([f"{'x' * 200}.csv"], [], "x" * LONGEST_NAME),
        (["___.csv"], [], "___"),
    ],
)
def test_the_name_of_files(tmp_path: Path, files: list[str], others: list[str], name: str) -> None:
    for file in files + others:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    given = [tuple(str(tmp_path / file) for file in own) for own in (files, others)]
    config = forecast(tmp_path / "out", input=given[0], test_input=given[1])
    assert dataset_name(config) == name
    assert dataset_name(dataclasses.replace(config, name="Mine")) == "Mine"


@pytest.mark.parametrize(
    ("task", "name"), [("forecast", "sample series"), ("language_model", "sample text"), ("seq2seq", "sample dates")]
)
def test_the_name_of_the_samples(task: str, name: str) -> None:
    assert dataset_name(prepare_config(task, "sample", "out")) == name


def test_a_pipe_has_no_name(tmp_path: Path) -> None:
    read, written = os.pipe()
    os.write(written, write_series_csv(tmp_path / "a.csv", 100).read_bytes())
    os.close(written)
    assert prepare(forecast(tmp_path / "d", input=(f"/dev/fd/{read}",)))["name"] == "stream"


def test_names_that_are_none() -> None:
    for name in ("a\tb", "x" * (LONGEST_NAME + 1)):
        (problem,) = forecast(Path("out"), input=("a.csv",), name=name).problems()
        assert problem.flag == "name"
    assert list(forecast(Path("out"), input=("a.csv",), name="Load, north (2024)").problems()) == []


def contents(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_directory_and_name_are_no_part_of_the_data(tmp_path: Path) -> None:
    csv = write_series_csv(tmp_path / "load.csv", 300)
    one, other = (prepare(forecast(tmp_path / directory, input=(str(csv),))) for directory in ("aa", "bb"))
    assert contents(tmp_path / "aa") == contents(tmp_path / "bb")
    named = prepare(forecast(tmp_path / "cc", input=(str(csv),), name="North load"))
    assert one["fingerprint"] == other["fingerprint"] == named["fingerprint"]
    assert json.loads((tmp_path / "cc" / "dataset.json").read_text())["name"] == "North load"
    values = {
        name.partition("-")[2]: digest
        for name, digest in contents(tmp_path / "cc").items()
        if name.startswith("north_load-")
    }
    assert values == {
        name.partition("-")[2]: digest for name, digest in contents(tmp_path / "aa").items() if name.startswith("load-")
    }
    csv.write_text(csv.read_text().rstrip("\n")[:-1] + "7\n")  # the last digit
    changed = prepare(forecast(tmp_path / "dd", input=(str(csv),)))
    assert changed["fingerprint"] != one["fingerprint"] and changed["name"] == one["name"]


def test_folders_of_files_with_static_covariates_are_no_part_of_the_data(tmp_path: Path) -> None:
    fingerprints = set()
    for place in ("here", "there"):
        for store in ("north", "south"):  # files of the same name are told apart by their paths
            directory = tmp_path / place / store
            directory.mkdir(parents=True)
            rows = "".join(f"{row},{row * len(store)},{store}\n" for row in range(40))
            (directory / "load.csv").write_text(f"a,b,region\n{rows}")
        config = forecast(
            tmp_path / place / "out", input=(f"{tmp_path}/{place}/*/load.csv",), static_covariates=("region",)
        )
        fingerprints.add(prepare(config)["fingerprint"])
    assert len(fingerprints) == 1


def test_a_run_goes_on_with_the_same_data_of_another_name(tmp_path: Path) -> None:
    csv = write_series_csv(tmp_path / "load.csv", 300)
    for directory, name in (("aa", ""), ("bb", "Load")):
        prepare(forecast(tmp_path / directory, input=(str(csv),), name=name))
    first, second = (train_config(tmp_path / directory, tmp_path / "model") for directory in ("aa", "bb"))
    write(first, datasets.read(first.data_dir))
    assert check_resumable(second, datasets.read(second.data_dir))
    prepare(forecast(tmp_path / "cc", input=(str(write_series_csv(tmp_path / "load.csv", 300, seed=1)),)))
    third = train_config(tmp_path / "cc", tmp_path / "model")
    with pytest.raises(ConfigError, match="holds other data than the run was started with"):
        check_resumable(third, datasets.read(third.data_dir))


def test_tfds_reads_a_dataset_by_its_prefix(tf: object, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    csv = write_series_csv(tmp_path / "a.csv", 100)
    prepare(forecast(tmp_path / "d", input=(str(csv),), name="North & South 2"))
    builder = tfds.builder_from_directory(str(tmp_path / "d"))
    assert builder.info.name == "north_south_2"
    rows = [record["values"] for record in tfds.as_numpy(builder.as_dataset(split="train"))]
    assert np.concatenate(rows).shape == (70, 2)

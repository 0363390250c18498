"""`dataset.json`: whatever of it changes is told, and no lie of it trips a reader over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.cli import flags
from trainer.dataset import manifest
from trainer.dataset.schema import Manifest
from trainer.errors import DataError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("manifest")
    (place / "a.csv").write_text(
        "date,a,b\n" + "".join(f"2020-01-{day:02d},{day},{-day / 2}\n" for day in range(1, 21))
    )
    arguments = [
        "--task=forecast",
        "--source=csv",
        f"--input={place}/a.csv",
        f"--output_dir={place}/data",
        "--num_processes=1",
    ]
    prepare(flags.parse(PrepareConfig, [*arguments, "--splits=0.5,0.5", "--num_shards=2"]))
    return place / "data"


def read(directory: Path, text: str | bytes) -> Manifest:
    (directory / "dataset.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return datasets.read(str(directory))


def leaves(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all numbers and texts."""
    if isinstance(values, dict | list):
        entries = values.items() if isinstance(values, dict) else enumerate(values)
        return [leaf for key, entry in entries for leaf in leaves(entry, (*path, key))]
    return [path]


def changed(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(values))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def test_every_changed_value_is_told(dataset: Path, tmp_path: Path) -> None:
    text = (dataset / "dataset.json").read_text()
    values = json.loads(text)
    for path in leaves(values):
        old = values
        for key in path:
            old = old[key]
        new = f"{old}x" if isinstance(old, str) else 0.5 if old is None else old + 1
        with pytest.raises(DataError, match=r"dataset\.json (was changed after it was written|has format version)"):
            read(tmp_path, json.dumps(changed(values, path, new)))
    # The layout is not content.
    assert read(tmp_path, json.dumps(values, indent=7)) == read(tmp_path, text) == datasets.read(str(dataset))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "is damaged"),
        ("[]", "has format version None, this program reads 4"),
        ('{"format_version": 1}', "has format version 1, this program reads 4"),
        (json.dumps({"format_version": ["\n" * 500]}), r"has format version \['"),
        ('{"format_version": 4}', "was changed after it was written"),
        (b"\xff", "cannot be read"),
        ('{"format_version": ' + "9" * 5000 + "}", "is damaged"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        read(tmp_path, text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


LIES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "more rows than the shards hold": (("facts", "groups", 0, "splits", "validation", 1), 10**12),
    "rows of the group": (("facts", "groups", 0, "rows"), 19),
    "a split that begins nowhere": (("facts", "groups", 0, "splits", "validation", 0), 11),
    "a standard deviation of 0": (("facts", "groups", 0, "std", 0), 0.0),
    "a statistic too many": (("facts", "groups", 0, "mean"), [1.0, 2.0, 3.0]),
    "a number that is not a float": (("facts", "groups", 0, "mean", 0), 10**400),
    "no interval": (("facts", "interval", "count"), 0),
    "a shard elsewhere": (("splits", "train", "shards", 0, "file"), "../data.tfrecord"),
    "a shard of a name that no file system takes": (("splits", "train", "shards", 0, "file"), "a" * 256),
    "half of a character": (("splits", "train", "shards", 0, "crc32c"), "\ud800"),
    "an unknown type": (("features", 0, "dtype"), "uint" + " " * 500),
    "values that begin at another number": (("features", 0, "lowest"), 4),
    "another task": (("task",), "language_model"),
    "an unknown task": (("task",), "walk"),
    "a key of many lines": (("splits", "\n\n"), {}),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_under_a_right_checksum(dataset: Path, tmp_path: Path, lie: str) -> None:
    values = json.loads((dataset / "dataset.json").read_text())
    del values[manifest.CHECKSUM]
    assert read(tmp_path, manifest.sealed(values)) == datasets.read(str(dataset))
    with pytest.raises(DataError, match=r"dataset\.json is damaged \(.*\); prepare") as caught:
        read(tmp_path, manifest.sealed(changed(values, *LIES[lie])))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize("file", ["/vocabulary.txt", "../vocabulary.txt", "a/b.txt"])
def test_a_vocabulary_is_in_its_directory(tmp_path: Path, file: str) -> None:
    (tmp_path / "a.txt").write_text("some text\n" * 50)
    arguments = [
        "--task=language_model",
        "--source=text",
        "--tokenizer=char",
        f"--input={tmp_path}/a.txt",
        "--num_processes=1",
    ]
    prepare(flags.parse(PrepareConfig, [*arguments, f"--output_dir={tmp_path}/data"]))
    values = json.loads((tmp_path / "data" / "dataset.json").read_text())
    del values[manifest.CHECKSUM]
    with pytest.raises(DataError, match="a vocabulary is not a file of the directory"):
        read(tmp_path / "data", manifest.sealed(changed(values, ("facts", "vocabulary_file"), file)))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), cut=st.booleans())
def test_flipped_or_cut_anywhere(dataset: Path, tmp_path: Path, data: st.DataObject, cut: bool) -> None:
    content = bytearray((dataset / "dataset.json").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    try:
        found = read(tmp_path, bytes(content[:place] if cut else content))
    except DataError as error:
        assert str(tmp_path) in str(error) and str(error).isprintable()
    else:  # one blank for another
        assert found == datasets.read(str(dataset))


def copied_over(directory: Path) -> None:
    first, second = sorted(directory.glob("*train*"))
    assert first.stat().st_size == second.stat().st_size
    shutil.copy(first, second)


@pytest.mark.parametrize("reader", ["inspect", "store"])
def test_a_shard_in_the_place_of_its_sibling(tf: Any, dataset: Path, tmp_path: Path, reader: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    copied_over(copy)
    told = datasets.read(str(copy))
    readers: dict[str, Callable[[], object]] = {
        "inspect": lambda: _inspect(copy, told),
        "store": lambda: _load(copy, told),
    }
    with pytest.raises(
        DataError, match=rf"{copy}.*(begins with row 0 where row 5 should be|lack rows, or hold some twice)"
    ):
        readers[reader]()


def _inspect(directory: Path, told: Manifest) -> object:
    from trainer.tasks.forecast.inspection import inspect

    return inspect(str(directory), told, 1)


def _load(directory: Path, told: Manifest) -> object:
    from trainer.tasks.forecast.data import series_store

    return series_store.load(str(directory), told, "train")

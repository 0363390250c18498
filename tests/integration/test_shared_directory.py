"""Several tasks prepare a dataset in a bucket, through faults: it is the one that a single task makes on the disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket_server import BUCKET, BucketServer, bucket_server
from configured import prepare_config
from preparations import files, settings_of
from preparations import inputs as inputs
from preparations import small_pieces as small_pieces

from trainer.dataset.shared_directory import SharedBucket
from trainer.errors import DataError, LocationError
from trainer.prepare import prepare
from trainer.storage import bucket
from trainer.storage.addresses import Address


@pytest.fixture(scope="module")
def shared_server() -> Iterator[BucketServer]:
    with bucket_server() as server:
        yield server


@pytest.fixture
def server(shared_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BucketServer:
    """An empty bucket whose every 20th answer is a 503, or is cut off half-way."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", shared_server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared_server.fault = lambda number, method, path: None
    bucket.delete_all([found.address for found in bucket.list_objects(Address(BUCKET, ""))])
    shared_server.fault = lambda number, method, path: None if number % 20 else "503" if number % 40 else "cut"
    return shared_server


def contents(prefix: str) -> dict[str, bytes]:
    found = bucket.list_objects(Address(BUCKET, prefix))
    return {one.address.name.removeprefix(f"{prefix}/"): bucket.read(one.address) or b"" for one in found}


@pytest.mark.parametrize("kind", ["stream-byte", "pairs-word", "csv"])
def test_tasks_in_a_bucket_make_what_one_makes_on_the_disk(
    inputs: Path, tmp_path: Path, kind: str, server: BucketServer
) -> None:
    settings = settings_of(inputs, kind)
    alone = prepare(prepare_config(**settings, output_dir=str(tmp_path / "d"), num_shards=3))
    tasks = prepare_config(**settings, output_dir=f"gs://{BUCKET}/{kind}/d", num_shards=3, num_tasks=2)
    with pytest.raises(
        DataError,
        match=rf"gs://{BUCKET}/{kind}/d lacks .*, which every task makes; run the tasks of --num_tasks=2 first",
    ):
        prepare(dataclasses.replace(tasks, finish=True))
    assert contents(kind) == {}
    for index in (1, 1):  # the second time there is nothing to do
        assert not prepare(dataclasses.replace(tasks, task_index=index))["complete"]
    before = contents(f"{kind}/d")
    assert "dataset.json" not in before and any(name.startswith("parts/") for name in before)
    told = (
        rf"gs://{BUCKET}/{kind}/d/d-train.tfrecord-00000-of-00003 is missing: task 0 of 2 has not written it; run "
        r"it with"
    )
    with pytest.raises(DataError, match=told):
        prepare(dataclasses.replace(tasks, finish=True))
    done = prepare(dataclasses.replace(tasks, task_index=0))
    assert done["complete"] and done["fingerprint"] == alone["fingerprint"] and done["output_dir"] == tasks.output_dir
    assert contents(f"{kind}/d") == files(tmp_path / "d")
    again = prepare(dataclasses.replace(tasks, task_index=1))
    assert again["complete"] and contents(f"{kind}/d") == files(tmp_path / "d")
    assert server.faults > 3
    with pytest.raises(LocationError, match="holds a dataset of other flags or inputs"):
        prepare(dataclasses.replace(tasks, splits=("1",), task_index=0))
    assert not list((tmp_path / "cache/recurrent-trainer/work").glob("[!.]*"))


def test_a_shard_that_was_changed_in_the_bucket_is_made_again(
    inputs: Path, tmp_path: Path, server: BucketServer
) -> None:
    settings: dict[str, Any] = {**settings_of(inputs, "lines-byte"), "num_shards": 2}
    prepare(prepare_config(**settings, output_dir=str(tmp_path / "d")))
    tasks = prepare_config(**settings, output_dir=f"gs://{BUCKET}/d", num_tasks=2)
    prepare(dataclasses.replace(tasks, task_index=0))
    shard = Address(BUCKET, "d/d-train.tfrecord-00000-of-00002")
    whole = bucket.read(shard) or b""
    bucket.write(shard, whole[:-1] + bytes([whole[-1] ^ 1]))
    told = (
        rf"gs://{BUCKET}/d/d-train.tfrecord-00000-of-00002 has the checksum \w+, \w+ was written; run the tasks again"
    )
    with pytest.raises(DataError, match=told):
        prepare(dataclasses.replace(tasks, task_index=1))
    assert "dataset.json" not in contents("d")
    assert prepare(dataclasses.replace(tasks, task_index=0))["complete"]
    assert contents("d") == files(tmp_path / "d")


def test_the_bucket_holds_something_else(server: BucketServer) -> None:
    bucket.write(Address(BUCKET, "d/notes.txt"), b"mine")
    with pytest.raises(LocationError, match=rf"^gs://{BUCKET}/d holds something else; choose another"):
        prepare(prepare_config("forecast", "sample", f"gs://{BUCKET}/d", num_tasks=2, task_index=0))
    assert contents("d") == {"notes.txt": b"mine"}


def test_the_manifest_is_shared_last(server: BucketServer, tmp_path: Path) -> None:
    server.fault = lambda number, method, path: None
    place = SharedBucket(tmp_path / "d", Address(BUCKET, "d"))
    for name in ("dataset.json", "vocabulary.txt", "features.json", ".hidden"):
        (tmp_path / "d" / name).write_text(name)
    server.fault = lambda number, method, path: "403" if "/upload/" in path else None
    with pytest.raises(LocationError, match="may not be written"):
        place.complete()
    server.fault = lambda number, method, path: None
    server.requests.clear()
    place.complete()
    assert contents("d") == {name: name.encode() for name in ("dataset.json", "vocabulary.txt", "features.json")}
    generations = {found.address.name: found.generation for found in bucket.list_objects(Address(BUCKET, "d"))}
    assert max(generations, key=generations.__getitem__) == "d/dataset.json"
    with pytest.raises(FileNotFoundError):
        place.read("dataset.json", "none")
    with pytest.raises(FileNotFoundError):
        place.fetch("none")

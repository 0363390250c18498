"""A command's files in Cloud Storage: fetched, staged, published, against an emulator that answers over HTTP, with
faults.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest
from bucket_server import BUCKET, BucketServer, bucket_server

from trainer.cli import flags
from trainer.errors import CacheSizeError, ConfigError, DataError, LocationError, RestartError
from trainer.storage import bucket, failures, staging
from trainer.storage.addresses import Address, fits
from trainer.storage.publishing import INCOMPLETE, Publication
from trainer.storage.shard_cache import ShardCache, locked
from trainer.storage.workspace import Workspace
from trainer.tasks.configurations import EvaluateConfig


@pytest.fixture(scope="module")
def shared_server():
    with bucket_server() as server:
        yield server


@pytest.fixture
def server(shared_server, tmp_path, monkeypatch) -> BucketServer:
    """An empty bucket, and an empty cache."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", shared_server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(failures, "RETRY_SECONDS", 2.0)
    shared_server.fault = lambda number, method, path: None
    for found in bucket.list_objects(Address(BUCKET, "")):
        bucket.delete(found.address)
    shared_server.requests.clear()
    return shared_server


def put(name: str, content: bytes) -> None:
    bucket.write(Address(BUCKET, name), content)


def contents() -> dict[str, bytes]:
    """Name -> content of all objects, read by Google's client alone."""
    from google.cloud import storage

    return {blob.name: blob.download_as_bytes() for blob in storage.Client().list_blobs(BUCKET)}


def at(path: str, name: str, *numbers: int):
    """A fault for the requests with these numbers (from 1) among those whose path holds a text."""
    seen = []

    def fault(number: int, method: str, asked: str):
        if path not in asked:
            return None
        seen.append(asked)
        return name if not numbers or len(seen) in numbers else None

    return fault


@pytest.mark.parametrize(
    ("pattern", "name", "fitting"),
    [
        ("a/*.csv", "a/b.csv", True),
        ("a/*.csv", "a/b/c.csv", False),
        ("a/**/*.csv", "a/c.csv", True),
        ("a/**/*.csv", "a/b/d/c.csv", True),
        ("a/[bc].txt", "a/b.txt", True),
        ("a/?.txt", "a/bc.txt", False),
    ],
)
def test_patterns_fit_as_globs_do(tmp_path, pattern, name, fitting):
    """The reference is `glob` on real files."""
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert (path in tmp_path.glob(pattern)) == fitting
    assert fits(name, pattern) == fitting


@pytest.mark.parametrize("text", ["gs://", "gs:///a", "gs://Bucket/a", "gs://bucket/a//b"])
def test_what_is_no_address(text):
    with pytest.raises(LocationError, match="is not an address in Cloud Storage; give gs://BUCKET/NAME"):
        Address.of(text)


def test_local_paths_stay_and_cost_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with Workspace() as space:
        assert space.read("a/b") == "a/b" and space.write("c") == "c"
        assert space.dataset("d", ("train",), 1.0) == "d" and space.read_files(("*.csv",)) == ("*.csv",)
        assert space.write_new("e", "dataset.json") == "e"
        assert space.to_addresses({"a": "a/b"}) == {"a": "a/b"}
    assert not (tmp_path / "cache").exists()


def test_files_come_by_name_and_pattern(server):
    for name in ("in/b.csv", "in/a.csv", "in/deep/c.csv", "in/a[1].csv"):
        put(name, name.encode())
    with Workspace() as space:
        given = space.read_files(("gs://bucket/in/a[1].csv", "gs://bucket/in/*.csv", "local.csv"))
        assert [space.to_addresses(path) for path in given] == [
            "gs://bucket/in/a[1].csv",
            *(f"gs://bucket/in/{name}" for name in ("a.csv", "a[1].csv", "b.csv")),
            "local.csv",
        ]
        assert Path(given[1]).read_bytes() == b"in/a.csv"
        with pytest.raises(DataError, match=r"^gs://bucket/in/\*\.txt names no object"):
            space.read_files(("gs://bucket/in/*.txt",))
    assert not Path(given[0]).exists()  # with the context


def test_outputs_appear_when_the_context_ends_well(server):
    with Workspace() as space:
        output, report = space.write("gs://bucket/out/a.csv"), space.write("gs://bucket/report")
        Path(output).write_text("forecast")
        Path(report).mkdir()
        (Path(report) / "evaluation.json").write_text("{}")
        assert contents() == {}
    assert contents() == {"out/a.csv": b"forecast", "report/evaluation.json": b"{}"}
    with pytest.raises(DataError, match=r"^gs://bucket/out/b\.csv is bad$"), Workspace() as space:
        path = space.write("gs://bucket/out/b.csv")
        Path(path).write_text("half")
        raise DataError(f"{path} is bad")  # errors tell the address
    assert "out/b.csv" not in contents()


def uploads(server: BucketServer) -> list[str]:
    """Names of the objects that were written, in order; by their sessions or the listing of deletions."""
    return [path for method, path in server.requests if method in ("POST", "DELETE") and "/o" in path]


def test_a_new_directory_is_complete_or_marked(server):
    def write() -> None:
        with Workspace() as space:
            directory = Path(space.write_new("gs://bucket/data", "dataset.json"))
            directory.mkdir()
            for name in ("dataset.json", "x-train.tfrecord-00000-of-00001"):
                (directory / name).write_text(name)

    put("data/INNOCENT", b"1")
    with pytest.raises(LocationError, match=r"^gs://bucket/data holds other objects"):
        write()
    bucket.delete(Address(BUCKET, "data/INNOCENT"))
    put("data/x-train.tfrecord-00000-of-00009", b"left by a killed one")
    put(f"data/{INCOMPLETE}", b"")
    server.fault = at("/upload/", "403", 3)  # the marker, the shard, then dataset.json
    with pytest.raises(LocationError, match="may not be written"):
        write()
    assert set(contents()) == {f"data/{INCOMPLETE}", "data/x-train.tfrecord-00000-of-00001"}
    server.fault = lambda *request: None
    write()
    assert set(contents()) == {"data/dataset.json", "data/x-train.tfrecord-00000-of-00001"}
    with pytest.raises(LocationError, match=r"has dataset.json already; choose another, or delete it"):
        write()


def checkpoint(directory: Path, step: int, content: str) -> None:
    (directory / "checkpoints").mkdir(exist_ok=True)
    (directory / f"checkpoints/ckpt-{step}.data-00000-of-00001").write_text(content)
    (directory / f"checkpoints/ckpt-{step}.index").write_text(content)
    (directory / "checkpoints/checkpoint").write_text(f"ckpt-{step}")


LAST = ("*.data-*", "*.index", "*/checkpoint")


def test_a_killed_publication_leaves_no_index_without_its_data(server, tmp_path):
    """Killed at each of its requests in turn, it leaves only checkpoints whose content is one's own."""
    directory = tmp_path / "model"
    for killed_at in range(1, 8):
        publication = Publication(directory, Address(BUCKET, "model"), LAST)
        if directory.exists():
            for path in sorted(directory.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
        directory.mkdir(exist_ok=True)
        for name in contents():
            bucket.delete(Address(BUCKET, name))
        checkpoint(directory, 10, "ten")
        publication.publish()
        checkpoint(directory, 10, "ten again")  # of a run that went on from before it
        checkpoint(directory, 20, "twenty")
        changes = [0]

        def fault(number, method, path, changes=changes, killed_at=killed_at):
            changes[0] += method in ("POST", "DELETE")
            return "403" if changes[0] >= killed_at and method in ("POST", "DELETE") else None

        server.fault = fault
        if killed_at < 7:  # an old index, two files of data, two indices, the state
            with pytest.raises(LocationError):
                publication.publish()
        else:
            publication.publish()
        server.fault = lambda *request: None
        found = contents()
        for step in (10, 20):
            if f"model/checkpoints/ckpt-{step}.index" in found:
                data = f"model/checkpoints/ckpt-{step}.data-00000-of-00001"
                assert found[data] == found[f"model/checkpoints/ckpt-{step}.index"], f"killed at {killed_at}"
        named = found["model/checkpoints/checkpoint"].decode()
        assert named == "ckpt-10" or f"model/checkpoints/{named}.index" in found
    assert found["model/checkpoints/checkpoint"] == b"ckpt-20"


def test_a_run_goes_on_where_the_bucket_is(server):
    def choice(names: list[str]) -> list[str]:
        return [name for name in names if "events" not in name]

    with Workspace() as space:
        directory = Path(space.go_on("gs://bucket/model", choice, LAST, publishes=True))
        directory.mkdir(exist_ok=True)
        checkpoint(directory, 10, "ten")
        (directory / "events.1").write_text("board")
        space.publish()
        assert len(contents()) == 4
        (directory / "metrics.jsonl").write_text("1")
    server.requests.clear()
    with (
        pytest.raises(RestartError),
        Workspace() as space,
    ):  # as after SIGTERM: what was written is published all the same
        directory = Path(space.go_on("gs://bucket/model", choice, LAST, publishes=True))
        assert (directory / "metrics.jsonl").read_text() == "1" and not (directory / "events.1").exists()
        space.publish()
        assert not uploads(server)  # nothing new
        for path in (directory / "checkpoints").glob("ckpt-10.*"):
            path.unlink()
        checkpoint(directory, 20, "twenty")
        raise RestartError("asked to stop")
    found = contents()
    assert "model/events.1" in found and not any("ckpt-10" in name for name in found)
    assert found["model/checkpoints/checkpoint"] == b"ckpt-20"


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_answers_that_fail_are_asked_for_again(server, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(failures, "RETRY_SECONDS", 20.0)
    content = os.urandom(9_000_000)  # written in a resumable session
    (tmp_path / "big.bin").write_bytes(content)
    server.fault = lambda number, method, path: fault if number % 3 == 0 else None
    address = Address(BUCKET, "big.bin")
    bucket.upload_all([(tmp_path / "big.bin", address)])
    found = bucket.find_object(address)
    for attempt in range(3):
        bucket.download_all([(found, tmp_path / f"again-{attempt}.bin")])
        assert (tmp_path / f"again-{attempt}.bin").read_bytes() == content
    assert server.faults >= 2


def test_a_service_that_never_answers_means_restart(server):
    server.fault = at("/o", "503")
    started = time.monotonic()
    with (
        pytest.raises(RestartError, match=r"gs://bucket/a gave no answer for 2 s .*run the same command again"),
        Workspace() as space,
    ):
        space.read("gs://bucket/a")
    assert time.monotonic() - started < 10


def test_what_arrives_damaged_is_fetched_again_and_then_refused(server, tmp_path, caplog):
    put("a", b"content")
    found = bucket.find_object(Address(BUCKET, "a"))
    server.fault = at("/download/", "damage", 1, 2)
    with caplog.at_level(logging.WARNING):
        bucket.download_all([(found, tmp_path / "a")])
    assert (tmp_path / "a").read_bytes() == b"content" and caplog.text.count("arrived damaged") == 2
    server.fault = at("/download/", "damage")
    with pytest.raises(DataError, match=r"gs://bucket/a has another checksum each time it is read .*; copy it anew"):
        bucket.download_all([(found, tmp_path / "b")])
    assert not (tmp_path / "b").exists()


def test_a_checksum_is_compared_after_a_transfer_that_was_cut_off(server, tmp_path):
    """Google's client leaves it out then: the rest of the bytes comes as a partial answer."""
    content = os.urandom(1000)
    put("a", content)
    found = bucket.find_object(Address(BUCKET, "a"))
    plan = iter(["cut", "damage", None])
    server.fault = lambda number, method, path: next(plan, None) if "/download/" in path else None
    bucket.download_all([(found, tmp_path / "a")])
    assert (tmp_path / "a").read_bytes() == content


@pytest.mark.parametrize(
    ("fault", "path", "told"),
    [
        ("403", "gs://bucket/a", r"gs://bucket/a may not be read \(tester@.*grant roles/storage.objectViewer"),
        (None, "gs://no-such/a", "names the bucket no-such, which does not exist; check the name, or make it"),
    ],
)  # fmt: skip
def test_what_only_the_user_can_change(server, fault, path, told):
    server.fault = at("/o", fault) if fault else server.fault
    with pytest.raises(LocationError, match=told), Workspace() as space:
        space.read(path)
    with pytest.raises(LocationError), Workspace() as space:
        space.write(path)


def test_missing_credentials_are_told(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    bucket._connected.cache_clear()
    told = r"^gs://bucket/a needs credentials .*run `gcloud auth application-default login`"
    with pytest.raises(LocationError, match=told), Workspace() as space:
        space.read_files(("gs://bucket/a",))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with (
        pytest.raises(LocationError, match=r"credentials \(File .*none.json was not found"),
        Workspace() as space,
    ):
        space.read_files(("gs://bucket/a",))


def test_advice_fits_the_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    bucket._connected.cache_clear()
    with pytest.raises(LocationError, match="service account the right by Workload Identity"), Workspace() as space:
        space.read("gs://bucket/a")


def test_a_metadata_server_that_is_late_is_waited_for(monkeypatch, tmp_path, server):
    """A pod's may need seconds after its start, a known race; 64 would fail the Job for good."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    put("a", b"content")
    machine = tmp_path / "product_name"
    machine.write_text("Google Compute Engine\n")
    monkeypatch.setattr(failures, "MACHINE", machine)
    client, tries = storage.Client, []

    def late(**options):
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise DefaultCredentialsError("Your default credentials were not found.")
        return client(**options)

    monkeypatch.setattr(storage, "Client", late)
    bucket._connected.cache_clear()
    assert bucket.read(Address.of("gs://bucket/a")) == b"content" and len(tries) == 3
    monkeypatch.setattr(failures, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(storage, "Client", lambda **options: _raise(DefaultCredentialsError))
    bucket._connected.cache_clear()
    with pytest.raises(RestartError, match=r"gave no answer for 1 s .*run the same command again"):
        bucket.read(Address.of("gs://bucket/a"))
    bucket._connected.cache_clear()


def _raise(kind):
    raise kind("Your default credentials were not found.")


def shards(count: int, size: int = 1000, splits: tuple[str, ...] = ("train",)) -> list[str]:
    names = [f"x-{split}.tfrecord-{index:05d}-of-{count:05d}" for split in splits for index in range(count)]
    for name in names:
        put(f"data/{name}", name.encode().ljust(size, b"."))
    put("data/dataset.json", b"{}")
    return names


def test_a_shard_is_read_while_others_are_on_their_way(server):
    names = shards(3)
    release = threading.Event()

    def slow(number: int, method: str, path: str) -> None:
        if names[2] in path:
            release.wait(20)

    server.fault = slow
    with Workspace() as space:
        directory = Path(space.dataset("gs://bucket/data", ("train",), 1.0))
        assert (directory / "dataset.json").read_bytes() == b"{}" and not (directory / names[0]).exists()
        assert staging.size_of(directory / names[2]) == 1000 and staging.size_of(directory / "none") is None
        space.begin()
        for name in names[:2]:
            assert Path(staging.arrived(str(directory / name))).read_bytes().startswith(name.encode())
        assert not (directory / names[2]).exists()
        release.set()
        assert Path(staging.arrived(str(directory / names[2]))).exists()


def test_a_shard_has_one_of_its_names_while_the_cache_is_added_up(tmp_path):
    """Whoever holds the lock of the limit has listed the files and looks at each: one that got its name meanwhile would
    not be counted.
    """
    shelf = tmp_path / "shards"
    cache = ShardCache(shelf, 1.0)
    found = bucket.StoredObject(Address.of("gs://bucket/data/one"), 10, 0, 1)
    fetched, may_end = threading.Event(), threading.Event()

    def fetch(_, file) -> None:
        fetched.set()
        may_end.wait(20)

    thread = threading.Thread(target=cache.link, args=(found, tmp_path / "one", fetch))
    thread.start()
    assert fetched.wait(20)
    with locked(shelf / ".limit"):
        may_end.set()
        thread.join(0.5)
        assert [path.suffix for path in shelf.glob("[!.]*")] == [".unfinished"]
    thread.join(20)
    assert [path.suffix for path in shelf.glob("[!.]*")] == [""] and (tmp_path / "one").exists()


def test_the_cache_is_shared_and_keeps_to_its_limit(server, tmp_path):
    names = shards(4, splits=("train", "test"))
    kept = tmp_path / "cache/recurrent-trainer/shards"

    def read(splits: tuple[str, ...], bytes_: int) -> int:
        """Downloads that it takes to read the splits."""
        server.requests.clear()
        with Workspace() as space:
            directory = Path(space.dataset("gs://bucket/data", splits, bytes_ / 1e9))
            space.begin()
            for name in names:
                if any(split in name for split in splits):
                    staging.arrived(str(directory / name))
            assert sum(path.stat().st_size for path in kept.iterdir()) <= bytes_
        return sum("/download/" in path and ".tfrecord" in path for _, path in server.requests)

    assert read(("train",), 8000) == 4
    assert read(("train",), 8000) == 0  # they were there
    assert read(("train", "test"), 8000) == 4
    assert read(("test",), 5000) == 0  # three of train went, unused for longest
    put(f"data/{names[0]}", b"new".ljust(1000))
    assert read(("train",), 5000) >= 3  # this one is another generation
    with pytest.raises(
        CacheSizeError,
        match=r"3e-06 is less than the 4e-06 GB of shards that are read of gs://bucket/data",
    ):
        read(("train",), 3000)


def test_files_in_use_are_not_removed(server, tmp_path):
    names = shards(2)
    cache = ShardCache(tmp_path / "shards", 1500 / 1e9)
    first, second = (bucket.find_object(Address(BUCKET, f"data/{name}")) for name in names)
    cache.link(first, tmp_path / "first", bucket.download)
    with pytest.raises(CacheSizeError, match="beside what is in use on this host"):
        cache.link(second, tmp_path / "second", bucket.download)
    (tmp_path / "first").unlink()
    cache.link(second, tmp_path / "second", bucket.download)
    assert len(list((tmp_path / "shards").glob("[!.]*"))) == 1


def test_workers_of_a_host_fetch_a_shard_once(server, tmp_path):
    """Eight processes' worth of caches on one directory: a file lock holds between open files, whoever has them."""
    [name] = shards(1, size=100_000)
    found = bucket.find_object(Address(BUCKET, f"data/{name}"))
    server.requests.clear()
    caches = [ShardCache(tmp_path / "shards", 1.0) for _ in range(8)]
    threads = [
        threading.Thread(target=cache.link, args=(found, tmp_path / str(index), bucket.download))
        for index, cache in enumerate(caches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("/download/" in path for _, path in server.requests) == 1
    assert {(tmp_path / str(index)).read_bytes() for index in range(8)} == {name.encode().ljust(100_000, b".")}


def test_what_killed_processes_left_is_removed(server, tmp_path):
    put("a", b"1")
    left = tmp_path / "cache/recurrent-trainer/work/left"
    left.mkdir(parents=True)
    (left / ".lock").touch()
    (left / "file").touch()
    with Workspace() as first:
        first.read_files(("gs://bucket/a",))
        assert not left.exists()
        with Workspace() as second:
            second.read_files(("gs://bucket/a",))
            assert len(list(left.parent.glob("[!.]*"))) == 2  # both live


def test_names_that_lead_elsewhere_are_refused(server):
    with pytest.raises(DataError, match="has a name that is not a path"), Workspace() as space:
        space._place(Address(BUCKET, "a/../../../b"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["--data_dir=d", "--gcs=stream"],
            "--gcs=stream has no effect with --data_dir=d; leave it out, or give a gs:// address",
        ),
        (["--data_dir=d", "--cache_gigabytes=1"], "--cache_gigabytes=1.0 has no effect with --data_dir=d"),
        (["--data_dir=gs://bucket/d", "--cache_gigabytes=0"], "--cache_gigabytes=0.0 is not a positive number"),
        (
            ["--data_dir=gs://bucket/d", "--cache_gigabytes=1", "--gcs=stream"],
            "--cache_gigabytes=1.0 has no effect with --gcs=stream",
        ),
    ],
)
def test_flags_without_effect_are_refused(given, told):
    with pytest.raises(ConfigError) as error:
        flags.parse(EvaluateConfig, ["--model_dir=m", *given])
    assert str(error.value).startswith(told)

"""One writer at a time: against real processes, real directories, and a bucket over HTTP."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from bucket_server import BUCKET, bucket_server

from trainer.errors import LocationError, StorageError
from trainer.storage import bucket, lease
from trainer.storage.addresses import Address
from trainer.storage.lease import FILE, Holder, acquire

ROOT = Path(__file__).parents[3]
HOLDS = """
import sys, time
from trainer.storage.lease import acquire
kept = acquire(sys.argv[1])
kept.keep()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "directory":
        yield str(tmp_path / "model")
        return
    with bucket_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield f"gs://{BUCKET}/model"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("RENEW_SECONDS", 0.1), ("EXPIRE_SECONDS", 1.0), ("POLL_SECONDS", 0.2)):
        monkeypatch.setattr(lease, name, seconds)


def content(place: str) -> bytes | None:
    if place.startswith("gs://"):
        return bucket.read(Address.of(place).inside(FILE))
    path = Path(place, FILE)
    return path.read_bytes() if path.exists() else None


def write(place: str, text: bytes) -> None:
    if place.startswith("gs://"):
        bucket.write(Address.of(place).inside(FILE), text)
        return
    Path(place).mkdir(exist_ok=True)
    Path(place, FILE).write_bytes(text)


def elsewhere(**changes: object) -> bytes:
    """A holder on another host."""
    fields = {**asdict(lease._this_process()), "host": "pod-7", "boot": "another", **changes}
    return json.dumps(fields).encode()


def test_the_next_one_need_not_wait_for_one_that_has_ended(place: str) -> None:
    for _ in range(2):
        held = acquire(place, sleep=lambda seconds: pytest.fail("it waits"))
        held.keep()
        held.check()
        assert json.loads(content(place) or b"")["process"] == os.getpid()
        held.release()
        assert content(place) is None


def test_a_living_writer_is_named(place: str) -> None:
    held = acquire(place)
    held.keep()
    started = time.monotonic()
    with pytest.raises(LocationError, match=rf"is written by another run \(process {os.getpid()} on .*, since 20"):
        acquire(place)
    assert time.monotonic() - started < 1.0, "it waited for more than one sign of life"
    held.check()
    held.release()


def test_one_on_another_host_that_is_silent_is_taken_over(place: str) -> None:
    write(place, elsewhere())
    waits: list[float] = []
    held = acquire(place, sleep=waits.append)
    assert sum(waits) == pytest.approx(1.0)
    assert json.loads(content(place) or b"")["process"] == os.getpid()
    held.release()


def test_what_was_taken_over_is_known_to_who_had_it(place: str) -> None:
    """As after a freeze of the first: it must not write any more, nor end the lease of the second."""
    first = acquire(place)
    second = acquire(place, sleep=lambda seconds: None)
    first.renew()
    with pytest.raises(LocationError, match=r"was taken over by another run \(process"):
        first.check()
    first.release()
    second.renew()
    second.check()
    second.release()


def test_a_file_of_another_version_is_waited_for(place: str) -> None:
    write(place, b'{"version": 2}')
    waits: list[float] = []
    acquire(place, sleep=waits.append).release()
    assert waits


@pytest.mark.parametrize("number", range(3))
def test_of_many_at_once_one_wins(place: str, number: int) -> None:
    results: list[object] = []

    def tries() -> None:
        try:
            results.append(acquire(place))
        except LocationError as error:
            results.append(error)

    threads = [threading.Thread(target=tries) for _ in range(5)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 0.5
    while not any(isinstance(each, lease.Lease) for each in results) and time.monotonic() < deadline:
        time.sleep(0.01)
    for each in list(results):
        if isinstance(each, lease.Lease):
            each.keep()
    for thread in threads:
        thread.join()
    winners = [each for each in results if isinstance(each, lease.Lease)]
    assert len(winners) == 1 and len(results) == 5
    winners[0].release()


def test_a_killed_process_of_this_host_is_not_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "m")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(LocationError, match=f"process {process.pid} on "):
        acquire(str(tmp_path / "m"), sleep=lambda seconds: time.sleep(6.0))
    process.kill()
    process.wait()
    acquire(str(tmp_path / "m"), sleep=lambda seconds: pytest.fail("it waits")).release()


def test_another_process_with_the_number_of_the_dead_is_not_the_writer() -> None:
    here = lease._this_process()
    assert not here.is_dead() and replace(here, started=1).is_dead()
    assert not replace(here, started=1, namespace="pid:[1]").is_dead(), "nothing is known of other containers"
    assert not Holder(**json.loads(elsewhere(started=1))).is_dead()


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LocationError, match=r"file/m cannot be written \(Not a directory\)"):
        acquire(str(tmp_path / "file" / "m"))


def test_a_disk_that_is_full_for_the_moment_is_no_wrong_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left on device"):
        acquire(str(tmp_path / "m"))


def test_a_directory_of_its_own_goes_where_nothing_was_written(tmp_path: Path) -> None:
    acquire(str(tmp_path / "new")).release()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    acquire(str(tmp_path / "old")).release()
    assert (tmp_path / "old").is_dir()

"""Shards in a bucket, read by TensorFlow: staged as they come, or streamed through its own file system, with faults on
the way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bucket_server import BUCKET, BucketServer, bucket_server

from trainer.errors import DataError
from trainer.storage import bucket, failures
from trainer.storage.addresses import Address
from trainer.storage.workspace import Workspace
from trainer.tasks import datasets

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(small_dataset, tmp_path, monkeypatch):
    """`small_dataset` at gs://bucket/data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(failures, "RETRY_SECONDS", 10.0)
    with bucket_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        bucket.upload_all([(path, Address(BUCKET, f"data/{path.name}")) for path in small_dataset.iterdir()])
        server.requests.clear()
        yield server


def load(directory: str):
    from trainer.tasks.forecast.data import series_store

    return series_store.load(directory, datasets.read(directory), "validation")


def test_staged_shards_give_the_same_series(tf, small_dataset, server):
    [expected] = load(str(small_dataset))
    server.fault = lambda number, method, path: "503" if number % 5 == 0 else None
    with Workspace() as space:
        directory = space.dataset("gs://bucket/data", ("train", "validation"), 1.0)
        space.begin()
        [found] = load(directory)
    np.testing.assert_array_equal(found.values, expected.values)
    assert not any("-test.tfrecord" in path and "/download/" in path for _, path in server.requests)
    assert server.faults


def test_a_staged_shard_that_cannot_come_is_told(tf, server):
    server.fault = lambda number, method, path: "damage" if "/download/" in path and "00001-of" in path else None
    told = r"gs://bucket/data/small-\w+\.tfrecord-00001-of-00003 has another checksum each time"
    with pytest.raises(DataError, match=told), Workspace() as space:
        directory = space.dataset("gs://bucket/data", ("train", "validation"), 1.0)
        load(directory)


def test_a_damaged_shard_in_the_bucket_is_told_by_its_address(tf, small_dataset, server):
    shard = next(small_dataset.glob("*-train.tfrecord-00001-*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    bucket.write(Address(BUCKET, f"data/{shard.name}"), bytes(content))
    with pytest.raises(DataError, match=rf"^gs://bucket/data/{shard.name} record \d+ is damaged"), Workspace() as space:
        load(space.dataset("gs://bucket/data", ("train", "validation"), 1.0))


STREAM = """
import sys, numpy as np, json
from test_record_files import load
from trainer.errors import TrainerError
from trainer.storage.workspace import Workspace
for turn in range(2):
    try:
        with Workspace() as space:
            [found] = load(space.dataset("gs://bucket/data", ("train", "validation"), 1.0, stream=True))
        total = float(np.sum(found.values, dtype=np.float64))
        print(json.dumps({"sum": total, "shape": found.values.shape}), flush=True)
    except TrainerError as error:
        print(json.dumps({"code": error.exit_code, "told": str(error)}), flush=True)
    sys.stdin.readline()
"""


def test_streamed_shards_give_the_same_series(tf, small_dataset, server: BucketServer, tmp_path):
    """TensorFlow's own file system reads them, through a tunnel that ends at the emulator; nothing is kept on the
    disk.
    """
    [expected] = load(str(small_dataset))
    environment = (
        os.environ | server.tensorflow_environment(tmp_path) | {"GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "10000"}
    )
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"GCS_RETRY_CONFIG_MAX_DELAY_TIME_US": "100000"}
    server.fault = lambda number, method, path: "503" if number % 5 == 0 else None
    server.requests.clear()
    process = subprocess.Popen(
        [sys.executable, "-c", STREAM],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None and process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first == {"sum": float(np.sum(expected.values, dtype=np.float64)), "shape": list(expected.values.shape)}
        asked = [path for _, path in server.requests if path.startswith("/bucket/data%2F")]  # TensorFlow's way to ask
        assert (
            server.faults and len(set(asked)) == 6 >= len(asked) - server.faults
        )  # a shard is one request, up to 64 MB
        assert not list((tmp_path / "cache").rglob("*.tfrecord-*"))
        server.fault = lambda number, method, path: "403" if path.startswith("/bucket/") else None
        process.stdin.write("\n")
        process.stdin.flush()
        second = json.loads(process.stdout.readline())
        assert second["code"] == 64 and second["told"].startswith("gs://bucket/data/"), second
        assert "may not be read with --gcs=stream" in second["told"], second
        process.stdin.close()

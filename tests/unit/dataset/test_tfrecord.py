"""TFRecord framing and Example protos against TensorFlow's own reader and parser."""

from __future__ import annotations

import os
from pathlib import Path

import google_crc32c
import pytest

from trainer.dataset import tfrecord
from trainer.dataset.schema import Facts, Manifest, Shard, Split
from trainer.dataset.shard_files import check_files
from trainer.dataset.tfrecord import RecordWriter, encode_example, scan
from trainer.errors import DataError

RECORDS = [b"", b"a", bytes(range(256)) * 300]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "a.tfrecord"
    with RecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    assert (writer.records, writer.bytes) == (3, path.stat().st_size)
    assert int(writer.crc32c, 16) == google_crc32c.value(path.read_bytes())
    assert len(writer.crc32c) == 8
    return path


def test_tensorflow_reads_what_the_writer_wrote(shard: Path) -> None:
    import tensorflow as tf

    assert [record.numpy() for record in tf.data.TFRecordDataset(str(shard))] == RECORDS


def test_scan_reads_what_tensorflow_wrote(tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "b.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    assert list(scan(path)) == RECORDS


def test_example_parses_and_equals_tensorflows_own() -> None:
    import tensorflow as tf

    numbers = [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1, -(2**63)]
    encoded = encode_example({"one": -5, "many": numbers, "raw": b"\x00\xff" * 100, "texts": [b"x", b""], "none": []})
    example = tf.train.Example.FromString(encoded)
    assert list(example.features.feature["one"].int64_list.value) == [-5]
    assert list(example.features.feature["many"].int64_list.value) == numbers
    assert list(example.features.feature["raw"].bytes_list.value) == [b"\x00\xff" * 100]
    assert list(example.features.feature["texts"].bytes_list.value) == [b"x", b""]
    assert example.features.feature["none"].WhichOneof("kind") == "int64_list"
    assert tf.train.Example.FromString(example.SerializeToString(deterministic=True)) == example
    assert len(encoded) == example.ByteSize()


def test_a_flipped_bit_is_found_and_its_record_named(shard: Path) -> None:
    whole = shard.read_bytes()
    # Places in record 1 (16 bytes of empty record 0 before it): length, its CRC, content, the content's CRC; the last
    # in record 2.
    for place, record in ((16, 1), (24, 1), (28, 1), (29, 1), (33 + 5000, 2)):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError, match=rf"a\.tfrecord record {record} is damaged") as caught:
            list(scan(shard))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "record"), [(3, 0), (20, 1), (31, 1), (40, 2), (-1, 2), (-4, 2)])
def test_a_truncated_file_is_told_from_a_damaged_one(shard: Path, size: int, record: int) -> None:
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(DataError, match=f"record {record} is truncated"):
        list(scan(shard))


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "b.tfrecord"
    with RecordWriter(path) as writer:
        for record in (b"", b"one", b"\x00\xff" * 20):
            writer.write(record)
    whole = path.read_bytes()
    split = Split(3, (Shard(path.name, 3, writer.bytes, writer.crc32c),))
    told = Manifest("b", "t", (), {"train": split}, Facts())

    def found(content: bytes) -> bool:
        path.write_bytes(content)
        try:
            check_files(str(tmp_path), told, ("train",))
            list(scan(path))
        except DataError as error:
            assert str(error).startswith(str(path)) and str(error).isprintable()
            return True
        return False

    assert not found(whole) and found(whole + b"\0")
    assert all(found(whole[:size]) for size in range(len(whole)))
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert found(bytes(flipped)), bit


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.tfrecord cannot be read"):
        list(scan(tmp_path / "none.tfrecord"))


def test_a_large_file_is_flushed_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(tfrecord, "_FLUSH_BYTES", 3000)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    records = [bytes([number]) * 1000 for number in range(50)]
    with RecordWriter(tmp_path / "a.tfrecord") as writer:
        for record in records:
            writer.write(record)
    assert flushed and list(scan(tmp_path / "a.tfrecord")) == records

    def refuse(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(OSError, match="Input/output"), RecordWriter(tmp_path / "a.tfrecord") as writer:
        for record in records[:4]:
            writer.write(record)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_os_error_at_the_latest_on_leaving() -> None:
    with pytest.raises(OSError, match="No space"), RecordWriter("/dev/full") as writer:
        writer.write(b"x")

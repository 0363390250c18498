"""Damaged checkpoints are found and passed over, and no good one goes before the next is known to be good."""

import errno
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import DataError, LocationError, RestartError, StorageError


@pytest.fixture
def saver(tf):
    """Writes a checkpoint of random numbers (64 kB) to a path."""
    return tf.train.Checkpoint(
        values=tf.Variable(np.random.default_rng(0).normal(size=[128, 128]).astype(np.float32))
    ).write


@pytest.fixture
def three(saver, tmp_path):
    from trainer.training.checkpoint_files import write

    for step in (10, 20, 30):
        write(saver, tmp_path, step, keep=3)
    return tmp_path


def data_of(directory: Path, step: int) -> Path:
    [path] = directory.glob(f"ckpt-{step}.data-*")
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [truncate, flip, empty, Path.unlink])
def test_a_damaged_newest_checkpoint_is_passed_over(three, caplog, harm):
    from trainer.training.checkpoint_files import newest_whole

    assert newest_whole(three) == 30
    harm(data_of(three, 30))
    with caplog.at_level(logging.WARNING):
        assert newest_whole(three) == 20
    assert len(caplog.records) == 1 and "ckpt-30 is damaged" in caplog.text


@pytest.mark.parametrize("harm", [truncate, empty])
def test_so_is_one_with_a_damaged_index(three, harm):
    from trainer.training.checkpoint_files import newest_whole

    harm(three / "ckpt-30.index")
    assert newest_whole(three) == 20


def test_only_damaged_ones_are_no_new_start(three, tmp_path):
    from trainer.training.checkpoint_files import newest_whole

    for step in (10, 20, 30):
        flip(data_of(three, step))
    with pytest.raises(DataError, match="holds damaged checkpoints only"):
        newest_whole(three)
    assert newest_whole(tmp_path / "nowhere") is None


def test_tensorflow_finds_the_last_ones_and_older_ones_go(tf, three, saver):
    from trainer.training.checkpoint_files import steps_of, write

    write(saver, three, 40, keep=2)
    assert steps_of(three) == [30, 40]
    state = tf.train.get_checkpoint_state(str(three))
    assert state.model_checkpoint_path == str(three / "ckpt-40") == tf.train.latest_checkpoint(str(three))
    assert list(state.all_model_checkpoint_paths) == [str(three / "ckpt-30"), str(three / "ckpt-40")]
    assert sorted({path.name.partition(".")[0] for path in three.iterdir()}) == ["checkpoint", "ckpt-30", "ckpt-40"]


@pytest.mark.parametrize("failure", ["refused", "corrupted"])
def test_nothing_is_deleted_before_the_new_one_reads_back(three, saver, failure):
    from trainer.training.checkpoint_files import newest_whole, steps_of, write

    def corrupting(path: str) -> None:
        if failure == "refused":
            Path(path + ".data-00000-of-00001").write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        saver(path)
        flip(Path(path + ".data-00000-of-00001"))

    with pytest.raises(StorageError, match="No space left" if failure == "refused" else "does not read back"):
        write(corrupting, three, 40, keep=1)
    assert steps_of(three) == [10, 20, 30] and newest_whole(three) == 30
    write(saver, three, 40, keep=1)
    assert steps_of(three) == [40] and not list(three.glob(".writing*"))


def test_a_run_that_went_back_replaces_the_damaged_ones_it_passed_over(three, saver):
    from trainer.training.checkpoint_files import newest_whole, steps_of, write

    flip(data_of(three, 30))
    write(saver, three, 25, keep=3)
    assert steps_of(three) == [10, 20, 25] and newest_whole(three) == 25


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EIO, RestartError),
        (errno.ESTALE, RestartError),
        (errno.EMFILE, RestartError),
        (errno.EACCES, LocationError),
    ],
)
@pytest.mark.parametrize("of", ["file", "directory"])
def test_what_cannot_be_read_is_not_called_damaged(three, monkeypatch, number, kind, of):
    """The storage fails under TensorFlow and Python alike, as a network's does."""
    from trainer.training import checkpoint_files

    def fails(*_, **__):
        raise OSError(number, os.strerror(number), str(three))

    if of == "file":
        monkeypatch.setattr(checkpoint_files, "_wrong", lambda path: "any words of TensorFlow")
        monkeypatch.setattr(Path, "open", fails)
    else:
        monkeypatch.setattr(Path, "iterdir", fails)
    before = sorted(three.glob("*"))
    with pytest.raises(kind, match=re.escape(os.strerror(number))):
        checkpoint_files.newest_whole(three)
    assert sorted(three.glob("*")) == before


def test_a_file_without_permission_stops_the_run(three):
    """The system's own refusal, where it refuses: root may read everything."""
    from trainer.training.checkpoint_files import newest_whole

    path = data_of(three, 30)
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        with pytest.raises(LocationError, match="may not be read"):
            newest_whole(three)
    else:
        assert newest_whole(three) == 30


def test_newer_checkpoints_that_were_passed_over_are_set_aside(three, saver):
    from trainer.training.checkpoint_files import newest_whole, steps_of, write

    flip(data_of(three, 30))
    assert newest_whole(three) == 20
    content = data_of(three, 30).read_bytes()
    write(saver, three, 25, keep=2)
    assert steps_of(three) == [20, 25]
    assert data_of(three / "set_aside", 30).read_bytes() == content and steps_of(three / "set_aside") == [30]
    flip(data_of(three, 25))
    write(saver, three, 25, keep=2)  # a second attempt at the step
    assert steps_of(three) == [20, 25] and newest_whole(three) == 25 and steps_of(three / "set_aside") == [25, 30]


@pytest.mark.parametrize("name", ["run[1]", "lr=[0.1,0.2]", "a?b", "a*b", "back\\slash", "100%", "a b", "{x}", "ü"])
def test_any_directory_holds_checkpoints(tf, saver, tmp_path, name):
    """Another directory that its name would fit as a pattern has other values."""
    from trainer.storage.plain_path import plain_path
    from trainer.training.checkpoint_files import newest_whole, path_of, write

    for other in ("run1", "axb", "a-b"):
        write(
            tf.train.Checkpoint(values=tf.Variable(np.ones([128, 128], np.float32))).write, tmp_path / other, 7, keep=1
        )
    write(saver, tmp_path / name, 7, keep=1)
    assert newest_whole(tmp_path / name) == 7
    values = tf.Variable(np.zeros([128, 128], np.float32))
    with plain_path(path_of(tmp_path / name, 7)) as path:
        tf.train.Checkpoint(values=values).read(path).assert_consumed()
    np.testing.assert_array_equal(values.numpy()[0, :2], np.random.default_rng(0).normal(size=2).astype(np.float32))

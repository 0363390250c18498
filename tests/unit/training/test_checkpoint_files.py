"""Damaged checkpoints are found and passed over, and no good one goes before the next is known to be good."""

import logging
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import DataError, StorageError


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

"""Stretches are the same rows that slicing gives, however many copies the table fits in."""

import numpy as np
import pytest


@pytest.mark.parametrize("copies", [1, 4, 16])
@pytest.mark.parametrize("length", [1, 5, 16, 33])
def test_every_stretch_of_a_table(tf, monkeypatch, copies, length):
    from trainer.tasks.forecast.data import slices as stretches

    monkeypatch.setattr(stretches, "MOST_COPIES", copies)
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    firsts = np.arange(50 - length + 1)
    cut = tf.function(stretches.RowSlices(rows).at)
    np.testing.assert_array_equal(
        cut(tf.constant(firsts), length), np.stack([rows[first : first + length] for first in firsts])
    )


def test_a_large_table_is_not_copied(tf, monkeypatch):
    from trainer.tasks.forecast.data import slices as stretches

    rows = np.zeros((1000, 2), np.float32)
    monkeypatch.setattr(stretches, "LARGEST_BYTES", 2 * rows.nbytes)
    assert stretches.RowSlices(rows)._blocks.shape[1] == 2 * 2

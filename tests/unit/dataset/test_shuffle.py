import numpy as np
import pytest


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
def test_every_example_once_an_epoch(tf, count):
    from trainer.dataset.shuffle import shuffled_index

    order = shuffled_index(tf.range(3 * count, dtype=tf.int64), count, seed=5).numpy().reshape(3, count)
    assert (np.sort(order, axis=1) == np.arange(count)).all()
    if count > 60:
        assert (order[0] != order[1]).any()
        assert abs(np.corrcoef(order[0][:-1], order[0][1:])[0, 1]) < 0.2
        assert (shuffled_index(tf.range(count, dtype=tf.int64), count, seed=6).numpy() != order[0]).any()


def test_a_position_has_one_example_whatever_is_asked_with_it(tf):
    from trainer.dataset.shuffle import shuffled_index

    whole = shuffled_index(tf.range(100, dtype=tf.int64), 37, seed=1).numpy()
    part = shuffled_index(tf.reshape(tf.range(40, 60, dtype=tf.int64), [4, 5]), 37, seed=1).numpy()
    assert (part.reshape(-1) == whole[40:60]).all()

import numpy as np
import pytest

from trainer.errors import DataError
from trainer.tasks.datasets import read


def brute_force(data_dir, split, lookback, horizon):
    """All windows of a split, cut with Python slices from the raw records (one a series)."""
    from trainer.tasks.forecast.data import series_store

    groups = series_store.load(str(data_dir), read(str(data_dir)), "test")  # all rows up to the test split's end
    found = []
    for group in groups:
        first, end = group.splits[split]
        for column in range(group.values.shape[1]):
            for target in range(first, end - horizon + 1):
                if target - lookback >= 0:
                    rows = slice(target - lookback, target + horizon)
                    found.append((group.values[rows, column], group.observed[rows, column], group.times[rows]))
    return found


def make(data_dir, split, lookback, horizon, joint=False, features=6):
    from trainer.tasks.forecast.data import series_store
    from trainer.tasks.forecast.data.windows import Windows, WindowShape

    groups = series_store.load(str(data_dir), read(str(data_dir)), split)
    channels = groups[0].values.shape[1] if joint else 1
    return Windows(series_store.segments(groups, split, joint), WindowShape(lookback, horizon, channels, features))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_window_is_there_once(tf, small_dataset, split):
    expected = brute_force(small_dataset, split, 24, 6)
    windows = make(small_dataset, split, 24, 6)
    assert windows.count == len(expected)
    batches = [{k: v.numpy() for k, v in batch.items()} for batch in windows.in_order(50)]
    merged = {name: np.concatenate([batch[name] for batch in batches])[: windows.count] for name in batches[0]}
    values = np.concatenate([merged["past"], merged["target"]], axis=1)[..., 0]
    observed = np.concatenate([merged["past_observed"], merged["target_weight"]], axis=1)[..., 0]
    np.testing.assert_array_equal(values, [window[0] for window in expected])
    np.testing.assert_array_equal(observed, [window[1] for window in expected])
    padding = np.concatenate([batch["target_weight"] for batch in batches])[windows.count :]
    assert padding.size and not padding.any()


def test_joint_windows_hold_all_series(tf, small_dataset):
    single, joint = make(small_dataset, "test", 24, 6), make(small_dataset, "test", 24, 6, joint=True)
    assert joint.count * 2 == single.count
    batch = next(iter(joint.in_order(4)))
    assert batch["past"].shape == (4, 24, 2) and batch["series"].numpy().tolist() == [[0, 1]] * 4
    np.testing.assert_array_equal(
        batch["past"][..., 1:], next(iter(single.in_order(single.count)))["past"][joint.count : joint.count + 4]
    )


def test_training_takes_each_window_once_an_epoch(tf, small_dataset):
    windows = make(small_dataset, "train", 24, 6)
    every = {row.tobytes() for row in next(iter(windows.in_order(windows.count)))["past"].numpy()}
    steps, size = windows.count // 10 + 1, 10
    seen = []
    for batch in windows.training(0, size, 3, total_examples=windows.count).take(steps):
        weights = batch["target_weight"].numpy().any(axis=(1, 2))
        seen += [row.tobytes() for row, counts in zip(batch["past"].numpy(), weights) if counts]
    assert len(seen) >= windows.count - 20  # windows whose targets are all missing have no weight either
    assert len(seen) == len(set(seen)) and set(seen) <= every


def test_the_order_is_a_function_of_seed_and_step(tf, small_dataset):
    windows = make(small_dataset, "train", 24, 6)
    straight = [batch["past"].numpy() for batch in windows.training(0, 16, 3, None).take(12)]
    resumed = [batch["past"].numpy() for batch in windows.training(7, 16, 3, None).take(5)]
    np.testing.assert_array_equal(straight[7:], resumed)
    other = next(iter(windows.training(0, 16, 4, None)))["past"].numpy()
    assert (other != straight[0]).any()


@pytest.mark.parametrize("features", [0, 6])
@pytest.mark.parametrize("largest_bytes", [1, 2**24])
def test_batches_cut_in_groups_are_those_cut_alone(tf, small_dataset, monkeypatch, features, largest_bytes):
    """Every batch of a run, from the middle of a group on, is the one that `batch` cuts for its windows alone; the last
    has weights 0.
    """
    from trainer.dataset.shuffle import shuffled_index
    from trainer.tasks.forecast.data import windows as module

    monkeypatch.setattr(module, "LARGEST_GROUP_BYTES", largest_bytes)
    windows = make(small_dataset, "train", 24, 6, features=features)
    found = list(windows.training(5, 16, 3, total_examples=13 * 16 + 5).take(9))
    for step, batch in enumerate(found, start=5):
        position = tf.range(step * 16, (step + 1) * 16, dtype=tf.int64)
        alone = windows.batch(shuffled_index(position, windows.count, 3), tf.cast(position < 13 * 16 + 5, tf.float32))
        assert batch.keys() == alone.keys()
        for name in alone:
            np.testing.assert_array_equal(batch[name], alone[name], err_msg=f"{name} of step {step}")
    assert found[-2]["target_weight"].numpy()[:5].any() and not found[-1]["target_weight"].numpy()[5:].any()


def test_time_features_belong_to_the_rows(tf, small_dataset):
    from trainer.tasks.forecast.data.calendar_features import time_features

    expected = brute_force(small_dataset, "test", 24, 6)
    batch = next(iter(make(small_dataset, "test", 24, 6).in_order(20)))
    features = np.concatenate([batch["past_features"], batch["future_features"]], axis=1)
    np.testing.assert_array_equal(features, [time_features(tf.constant(window[2])).numpy() for window in expected[:20]])


def test_too_short_a_series_says_so(tf, small_dataset):
    with pytest.raises(
        DataError, match="--lookback=24 and --horizon=101 fits: the longest series of the split has 100 rows"
    ):
        make(small_dataset, "test", 24, 101)

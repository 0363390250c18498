"""Lanes: no token skipped or repeated within an epoch, and the state carried only where the text goes on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from trainer.errors import DataError


def read(dataset: Any) -> list[dict[str, np.ndarray]]:
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset]


def transitions(batches: list[dict[str, np.ndarray]]) -> list[tuple[int, int]]:
    """All (token, target) pairs that count."""
    return [
        (int(token), int(target))
        for batch in batches
        for token, target, weight in zip(batch["tokens"].ravel(), batch["targets"].ravel(), batch["weight"].ravel())
        if weight
    ]


SHAPES = [(2, 1, 1), (17, 1, 5), (17, 4, 3), (100, 8, 16), (101, 10, 5), (1000, 7, 13), (12, 11, 4)]


@pytest.mark.parametrize(("count", "batch", "length"), SHAPES)
def test_every_target_once_an_epoch(tf: Any, count: int, batch: int, length: int) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches

    lanes = StatefulBatches(np.arange(count, dtype=np.uint16), batch, length)  # a token is its place in the stream
    expected = [(place, place + 1) for place in range(count - 1)]
    assert lanes.targets == count - 1
    firsts = set()
    for epoch in range(3):
        batches = read(lanes.training(epoch * lanes.steps_per_epoch, seed=1).take(lanes.steps_per_epoch))
        assert sorted(transitions(batches)) == expected
        assert [batch["reset"].tolist() for batch in batches] == [
            [float(step == 0)] * batch_size(batch) for step, batch in enumerate(batches)
        ]
        firsts.add(int(batches[0]["tokens"][0, 0]))
        for before, after in pairwise(batches):  # a row goes on where it ended
            np.testing.assert_array_equal(after["tokens"][:, 0], before["targets"][:, -1])
    assert len(firsts) == min(3, count)  # each epoch starts elsewhere
    whole = read(lanes.in_order())
    assert sorted(transitions(whole)) == expected and len(whole) == lanes.steps_per_epoch
    assert whole[0]["tokens"][0, 0] == 0


def batch_size(batch: dict[str, np.ndarray]) -> int:
    return len(batch["tokens"])


@pytest.mark.parametrize(("count", "batch", "length"), SHAPES)
def test_against_a_loop(tf: Any, count: int, batch: int, length: int) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches

    stream = np.random.default_rng(0).integers(4, 200, count).astype(np.uint8)
    batches = read(StatefulBatches(stream, batch, length).in_order())
    lane = -(-count // batch)
    for row in range(batch):
        own = [int(stream[place]) for place in range(row * lane, min((row + 1) * lane, count))]
        following = [int(stream[place + 1]) for place in range(row * lane, min((row + 1) * lane, count - 1))]
        weights = np.concatenate([each["weight"][row] for each in batches])
        assert weights.tolist() == [1.0] * len(following) + [0.0] * (len(weights) - len(following))
        assert np.concatenate([each["tokens"][row] for each in batches])[: len(own)].tolist() == own
        assert np.concatenate([each["targets"][row] for each in batches])[: len(following)].tolist() == following
    assert batches[0]["tokens"].dtype == np.int32


def test_resuming_needs_only_the_step(tf: Any) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches

    stream = np.random.default_rng(0).integers(0, 60, 500)
    straight = read(StatefulBatches(stream, 4, 10).training(0, seed=3).take(40))
    resumed = read(StatefulBatches(stream, 4, 10).training(17, seed=3).take(23))
    for one, other in zip(straight[17:], resumed):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    different = read(StatefulBatches(stream, 4, 10).training(0, seed=4).take(1))[0]
    assert (different["tokens"] != straight[0]["tokens"]).any()


def test_rows_after_the_last_example_do_not_count(tf: Any) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches

    lanes = StatefulBatches(np.arange(100), 4, 5)
    assert lanes.examples_per_epoch == lanes.steps_per_epoch * 4
    batches = read(lanes.training(0, 0, total_examples=lanes.examples_per_epoch + 2).take(lanes.steps_per_epoch + 2))
    assert sorted(transitions(batches[: lanes.steps_per_epoch])) == [(place, place + 1) for place in range(99)]
    assert batches[-2]["weight"][2:].sum() == batches[-1]["weight"].sum() == 0 and batches[-2]["weight"][:2].any()


@pytest.mark.parametrize("warm_up", [1, 5, 12, 1000])
def test_a_warm_up_changes_no_target(tf: Any, warm_up: int) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches

    lanes = StatefulBatches(np.arange(103), 4, 5)
    batches = read(lanes.in_order(warm_up))
    extra = len(batches) - lanes.steps_per_epoch
    assert extra == min(-(-warm_up // 5), lanes.lane_length // 5)
    assert sorted(transitions(batches)) == [(place, place + 1) for place in range(102)]
    assert not any(batch["weight"].any() for batch in batches[:extra])
    resets = np.stack([batch["reset"] for batch in batches])
    assert resets[0].all() and resets[extra].tolist() == [1, 0, 0, 0] and resets.sum() == 5
    for row in range(1, 4):  # what a lane reads before its own tokens is the text before them
        read_tokens = np.concatenate([batch["tokens"][row] for batch in batches])
        assert read_tokens[: extra * 5 + 1].tolist() == list(range(row * 26 - extra * 5, row * 26 + 1))


def test_too_short_a_stream(tf: Any) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches

    for count, batch in ((0, 1), (1, 1), (8, 8)):
        with pytest.raises(DataError, match=f"a stream of {count} tokens does not fill {batch} lanes"):
            StatefulBatches(np.arange(count), batch, 4)


def test_static_shapes(tf: Any) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches, batch_signature

    lanes = StatefulBatches(np.arange(100), 4, 5)
    for dataset in (lanes.training(0, 0), lanes.in_order(7)):
        assert dataset.element_spec == batch_signature(4, 5)


def test_a_random_share_of_rows_starts_anew(tf: Any) -> None:
    from trainer.tasks.language_model.stateful_batches import StatefulBatches

    lanes = StatefulBatches(np.arange(4000), 16, 5)
    resets = np.stack([batch["reset"].numpy() for batch in lanes.training(1, 3, reset_share=0.25).take(45)])
    assert 0.15 < resets.mean() < 0.35
    again = np.stack([batch["reset"].numpy() for batch in lanes.training(11, 3, reset_share=0.25).take(35)])
    np.testing.assert_array_equal(resets[10:], again)
    assert not np.stack([batch["reset"].numpy() for batch in lanes.training(1, 3).take(45)]).any()

"""Batches of pairs: every pair once an epoch, rows as a Python loop makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainer.errors import DataError


def make_store(pairs: int = 500, seed: int = 0, longest: int = 30) -> Any:
    """Pairs of random lengths, empty texts among them."""
    from trainer.tasks.seq2seq.store import PairStore

    random = np.random.default_rng(seed)
    source = random.integers(0, longest, pairs)
    target = np.maximum(0, source + random.integers(-3, 4, pairs))
    ids = [random.integers(4, 250, lengths.sum()).astype(np.uint8) for lengths in (source, target)]
    return PairStore(ids[0], source, ids[1], target, [""] * pairs, [""] * pairs)


def expected_rows(store: Any) -> list[tuple[list[int], list[int]]]:
    """Source and target of each pair, with END, without padding."""
    ends = np.cumsum(store.source_lengths), np.cumsum(store.target_lengths)
    return [
        (
            [*store.source[ends[0][pair] - store.source_lengths[pair] : ends[0][pair]].tolist(), 3],
            [*store.target[ends[1][pair] - store.target_lengths[pair] : ends[1][pair]].tolist(), 3],
        )
        for pair in range(len(store.source_lengths))
    ]


def check_rows(batch: dict[str, Any], expected: list[tuple[list[int], list[int]]]) -> list[int]:
    """Checks each row of a batch; gives the pairs that it holds, -1 for rows that only fill."""
    arrays = {name: tensor.numpy() for name, tensor in batch.items()}
    for source, length, target, target_length, index in zip(*(arrays[name] for name in batch)):
        wanted = expected[index] if index >= 0 else ([3], [])
        assert source.tolist() == wanted[0] + [0] * (len(source) - len(wanted[0]))
        assert target.tolist() == wanted[1] + [0] * (len(target) - len(wanted[1]))
        assert (length, target_length) == (len(wanted[0]), len(wanted[1]))
    found: list[int] = arrays["index"].tolist()
    return found


@pytest.mark.parametrize(("unit", "size"), [("sentences", 16), ("sentences", 7), ("tokens", 300), ("tokens", 3)])
def test_every_pair_once_an_epoch_in_few_shapes(tf: Any, unit: str, size: int) -> None:
    from trainer.tasks.seq2seq.batches import MOST_SHAPES, PairBatches

    store = make_store()
    expected = expected_rows(store)
    batches = PairBatches(store, size, unit)
    assert batches.pairs == 500 and len(batches.shapes) <= MOST_SHAPES
    steps = batches.steps_per_epoch
    seen, shapes, slots = [], [], 0
    for batch in batches.training(0, seed=3).take(2 * steps):
        seen.append(check_rows(batch, expected))
        shapes.append((*batch["source"].shape, batch["target"].shape[1]))
        slots += tf.size(batch["source"]).numpy() + tf.size(batch["target"]).numpy()
    assert set(shapes) == set(batches.shapes) and {shape[0] for shape in shapes} == set(batches.rows)
    if unit == "tokens":
        assert all(rows % 8 == 0 and (rows == 8 or rows * max(lengths) <= size) for rows, *lengths in shapes)
    else:
        assert batches.rows == (size,)
    epochs = [[pair for batch in seen[first : first + steps] for pair in batch if pair >= 0] for first in (0, steps)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(500))
    assert epochs[0] != epochs[1]
    assert {frozenset(batch) for batch in seen[:steps]} != {
        frozenset(batch) for batch in seen[steps:]
    }  # other batches, not only another order
    tokens = sum(len(source) + len(target) for source, target in expected)
    assert batches.padding_share == pytest.approx(1 - 2 * tokens / slots)


def test_the_order_needs_seed_and_step_only(tf: Any) -> None:
    from trainer.tasks.seq2seq.batches import PairBatches

    store = make_store()

    def indices(first: int, seed: int, count: int) -> list[list[int]]:
        return [
            batch["index"].numpy().tolist()
            for batch in PairBatches(store, 300, "tokens").training(first, seed).take(count)
        ]

    straight = indices(0, 5, 150)
    assert indices(97, 5, 53) == straight[97:]
    assert indices(0, 6, 20) != straight[:20]
    firsts = [index[0] for index in straight[: PairBatches(store, 300, "tokens").steps_per_epoch]]
    lengths = store.source_lengths[firsts]
    assert np.abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.6  # short and long batches are mixed


def test_rows_after_the_last_step_only_fill(tf: Any) -> None:
    from trainer.tasks.seq2seq.batches import PairBatches

    store = make_store()
    batches = PairBatches(store, 16, "sentences")
    found = [check_rows(batch, expected_rows(store)) for batch in batches.training(3, 0, total_steps=5).take(4)]
    assert found[:2] == [batch["index"].numpy().tolist() for batch in batches.training(3, 0).take(2)]
    assert max(found[0]) >= 0 and max(found[1]) >= 0 and {*found[2], *found[3]} == {-1}


@pytest.mark.parametrize("size", [1, 16, 499, 600])
def test_in_order_for_evaluation(tf: Any, size: int) -> None:
    from trainer.tasks.seq2seq.batches import LENGTH_MULTIPLE, PairBatches

    store = make_store()
    expected = expected_rows(store)
    seen: list[int] = []
    for batch in PairBatches(store, 64, "sentences").in_order(size):
        seen += check_rows(batch, expected)
        for side in ("source", "target"):
            longest = batch[f"{side}_lengths"].numpy().max()
            assert batch[side].shape == (size, -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE)
    fillers = -500 % size
    assert seen[500:] == [-1] * fillers
    assert sorted(seen[:500]) == list(range(500))
    lengths = [(len(expected[pair][0]), len(expected[pair][1])) for pair in seen[:500]]
    assert lengths == sorted(lengths)


def test_signatures(tf: Any) -> None:
    from trainer.tasks.seq2seq.batches import PairBatches, batch_signature

    sentences, tokens = PairBatches(make_store(), 16, "sentences"), PairBatches(make_store(), 300, "tokens")
    assert sentences.training(0, 0).element_spec == sentences.in_order(16).element_spec == batch_signature(16)
    assert tokens.training(0, 0).element_spec == batch_signature(None)
    assert batch_signature(8)["source"] == tf.TensorSpec([8, None], tf.int32)


@pytest.mark.parametrize("pairs", [1, 2, 9])
def test_few_pairs_and_empty_texts(tf: Any, pairs: int) -> None:
    from trainer.tasks.seq2seq.batches import PairBatches

    for longest in (1, 20):  # 1: every source is empty
        store = make_store(pairs, longest=longest)
        batches = PairBatches(store, 4, "sentences")
        epoch = [
            check_rows(batch, expected_rows(store)) for batch in batches.training(0, 0).take(batches.steps_per_epoch)
        ]
        assert sorted(pair for batch in epoch for pair in batch if pair >= 0) == list(range(pairs))


def test_no_pair_at_all(tf: Any) -> None:
    from trainer.tasks.seq2seq.batches import PairBatches

    with pytest.raises(DataError, match="holds no pair"):
        PairBatches(make_store(0), 4, "sentences")

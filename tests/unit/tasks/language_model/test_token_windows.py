"""Independent windows: every target in exactly one of them, against Python slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainer.errors import DataError

Row = tuple[list[int], list[int]]


def rows(dataset: Any) -> tuple[list[Row], list[Row]]:
    """(tokens, targets) of the rows that count, and of those that do not; checks what is outside the weight."""
    counting: list[Row] = []
    filling: list[Row] = []
    for batch in dataset:
        assert (batch["reset"].numpy() == 1).all()
        for tokens, targets, weight in zip(batch["tokens"].numpy(), batch["targets"].numpy(), batch["weight"].numpy()):
            size = int(weight.sum())
            assert weight.tolist() == [1.0] * size + [0.0] * (len(weight) - size)
            row = (tokens[:size].tolist(), targets[:size].tolist())
            (counting if size else filling).append(row)
            if size:
                assert not tokens[size:].any() and not targets[size:].any()
    return counting, filling


@pytest.mark.parametrize(
    ("count", "length", "batch"), [(2, 5, 1), (256, 256, 2), (257, 256, 2), (1000, 64, 7), (513, 256, 1)]
)
def test_windows_of_a_stream(tf: Any, count: int, length: int, batch: int) -> None:
    from trainer.tasks.language_model.token_windows import stream_windows

    stream = np.random.default_rng(0).integers(4, 60, count).astype(np.uint8)
    expected = []
    for first in range(0, count - 1, length):
        end = min(first + length, count - 1)
        expected.append((stream[first:end].tolist(), stream[first + 1 : end + 1].tolist()))
    windows = stream_windows(stream, length)
    assert (windows.count, windows.targets) == (len(expected), count - 1)
    counting, filling = rows(windows.in_order(batch))
    assert counting == expected and len(counting) + len(filling) == -(-len(expected) // batch) * batch


def documents(seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(4, 200, size).tolist() for size in random.integers(1, 40, 60)]


def expected_windows(texts: list[list[int]], length: int) -> list[Row]:
    found = []
    for text in texts:
        inputs, targets = [2, *text], [*text, 3]
        found += [
            (inputs[first : first + length], targets[first : first + length]) for first in range(0, len(inputs), length)
        ]
    return found


@pytest.mark.parametrize("length", [1, 7, 16, 64])
def test_windows_of_documents(tf: Any, length: int) -> None:
    from trainer.tasks.language_model.token_windows import document_windows

    texts = documents()
    expected = expected_windows(texts, length)
    windows = document_windows(np.concatenate(texts).astype(np.uint8), np.array([len(text) for text in texts]), length)
    assert (windows.count, windows.targets) == (len(expected), sum(len(text) + 1 for text in texts))
    assert rows(windows.in_order(16))[0] == expected


def test_each_document_once_an_epoch_in_another_order(tf: Any) -> None:
    from trainer.tasks.language_model.token_windows import document_windows

    texts = documents()
    expected = sorted(expected_windows(texts, 16))
    tokens, lengths = np.concatenate(texts), np.array([len(text) for text in texts])
    windows = document_windows(tokens, lengths, 16)
    steps = -(-2 * windows.count // 10)
    seen, _ = rows(windows.training(0, 10, 5, total_examples=2 * windows.count).take(steps))
    first, second = seen[: windows.count], seen[windows.count :]
    assert sorted(first) == sorted(second) == expected
    assert first != second and first != expected
    straight = [batch["tokens"].numpy() for batch in windows.training(0, 10, 5).take(9)]
    resumed = [batch["tokens"].numpy() for batch in document_windows(tokens, lengths, 16).training(4, 10, 5).take(5)]
    np.testing.assert_array_equal(straight[4:], resumed)


def test_nothing_to_predict(tf: Any) -> None:
    from trainer.tasks.language_model.token_windows import stream_windows

    for count in (0, 1):
        with pytest.raises(DataError, match="holds no token to predict"):
            stream_windows(np.arange(count), 4)


def test_static_shapes(tf: Any) -> None:
    from trainer.tasks.language_model.stateful_batches import batch_signature
    from trainer.tasks.language_model.token_windows import stream_windows

    windows = stream_windows(np.arange(100), 8)
    assert windows.training(0, 4, 0).element_spec == windows.in_order(4).element_spec == batch_signature(4, 8)

"""Buckets by length, against loops over all cuts."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.tasks.seq2seq.length_buckets import length_buckets


def fixed_rows(length: np.ndarray) -> np.ndarray:
    return np.full_like(length, 4)


def token_rows(length: np.ndarray) -> np.ndarray:
    return np.maximum(200 // length // 8, 1) * 8


def lengths(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    source = random.poisson(12, count) + 1
    return source, np.maximum(1, source + random.integers(-4, 5, count))


def cost(source: np.ndarray, target: np.ndarray, rows: object) -> int:
    """Padded tokens of one bucket's epoch, batch by batch."""
    if not len(source):
        return 0
    size = int(rows(np.array(max(source.max(), target.max()))))  # type: ignore[operator]
    return sum(size * int(source.max() + target.max()) for _ in range(0, len(source), size))


def total_cost(source: np.ndarray, target: np.ndarray, bucket: np.ndarray, rows: object) -> int:
    return sum(cost(source[bucket == number], target[bucket == number], rows) for number in range(bucket.max() + 1))


@pytest.mark.parametrize("rows", [fixed_rows, token_rows])
@pytest.mark.parametrize("seed", range(3))
def test_two_buckets_are_the_best_cut(rows: object, seed: int) -> None:
    source, target = lengths(60, seed)
    _, bucket = length_buckets(source, target, rows, most=2)  # type: ignore[arg-type]
    cuts = [side <= edge for side in (source, target) for edge in range(1, 30)]
    best = min(cost(source[low], target[low], rows) + cost(source[~low], target[~low], rows) for low in cuts)
    assert total_cost(source, target, bucket, rows) == best < cost(source, target, rows)


@pytest.mark.parametrize("rows", [fixed_rows, token_rows])
def test_every_pair_fits_and_buckets_are_few(rows: object) -> None:
    source, target = lengths(3000)
    costs = []
    for most in (1, 2, 4, 12):
        buckets, bucket = length_buckets(source, target, rows, most)  # type: ignore[arg-type]
        assert 1 <= len(buckets) <= most
        for number, shape in enumerate(buckets):
            own = bucket == number
            assert (shape.source, shape.target) == (source[own].max(), target[own].max())
            assert shape.rows == rows(np.array(max(shape.source, shape.target)))  # type: ignore[operator]
        costs.append(total_cost(source, target, bucket, rows))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.6 * costs[0] and costs[-1] < 1.25 * (source + target).sum()


def test_nothing_to_cut() -> None:
    for count in (1, 50):
        buckets, bucket = length_buckets(np.full(count, 7), np.full(count, 9), fixed_rows, 12)
        assert [(shape.rows, shape.source, shape.target) for shape in buckets] == [(4, 7, 9)] and not bucket.any()
    buckets, _ = length_buckets(np.array([1, 50]), np.array([1, 50]), fixed_rows, 12)
    assert len(buckets) == 1  # two batches that are mostly filled up cost more than one

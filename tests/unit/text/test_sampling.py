"""Sampling follows the model's probabilities, keeps to its set, and depends on seed and position alone."""

import math

import numpy as np
import pytest

DRAWS = 20_000
VOCABULARY = 12


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(5).normal(0, 1.5, VOCABULARY).astype(np.float32)


def draw(tf, logits, temperature=1.0, top_k=0, top_p=1.0, seeds=None, positions=None):
    from trainer.text.sampling import Sampling, sample

    seeds = np.arange(DRAWS) if seeds is None else seeds
    size = len(seeds)
    positions = np.zeros(size) if positions is None else positions
    how = Sampling(
        tf.fill([size], float(temperature)),
        tf.fill([size], top_k),
        tf.fill([size], float(top_p)),
        tf.constant(seeds, tf.int64),
    )
    return sample(tf.tile(tf.constant(logits)[None], [size, 1]), how, tf.constant(positions, tf.int64)).numpy()


def probabilities(logits, temperature=1.0):
    scaled = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    return scaled / scaled.sum()


def chi_square(tokens, expected):
    observed = np.bincount(tokens, minlength=len(expected))
    assert not observed[expected == 0].any(), "a token outside the set"
    kept = expected > 0
    return float((((observed - len(tokens) * expected) ** 2)[kept] / (len(tokens) * expected)[kept]).sum()), int(
        kept.sum()
    ) - 1


def largest_chi_square(freedom):
    """The value that chance passes once in 10,000 (Wilson and Hilferty's approximation)."""
    return freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize("by", ["seed", "position"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_distribution_is_the_models(tf, logits, temperature, by):
    numbers = np.arange(DRAWS)
    seeds, positions = (numbers, None) if by == "seed" else (np.full(DRAWS, 2**40 + 7), numbers)
    tokens = draw(tf, logits, temperature, seeds=seeds, positions=positions)
    value, freedom = chi_square(tokens, probabilities(logits, temperature))
    assert value < largest_chi_square(freedom)


def test_top_k_and_top_p_keep_to_their_set_and_renormalise(tf, logits):
    full = probabilities(logits)
    order = np.argsort(-full)
    for top_k in (1, 3, VOCABULARY, 50):
        inside = np.zeros(VOCABULARY)
        inside[order[:top_k]] = full[order[:top_k]]
        value, freedom = chi_square(draw(tf, logits, top_k=top_k), inside / inside.sum())
        assert freedom == 0 or value < largest_chi_square(freedom)
    for top_p in (0.01, 0.5, 0.9):
        size = int(np.searchsorted(np.cumsum(full[order]), top_p)) + 1  # smallest set that reaches it
        inside = np.zeros(VOCABULARY)
        inside[order[:size]] = full[order[:size]]
        value, freedom = chi_square(draw(tf, logits, top_p=top_p), inside / inside.sum())
        assert freedom == 0 or value < largest_chi_square(freedom)


def test_temperature_zero_is_greedy(tf, logits):
    assert set(draw(tf, logits, temperature=0.0)) == {int(logits.argmax())}


def test_a_row_does_not_depend_on_its_neighbours(tf, logits):
    together = draw(tf, logits, seeds=np.arange(50), positions=np.arange(50) % 7)
    alone = [draw(tf, logits, seeds=np.array([seed]), positions=np.array([seed % 7]))[0] for seed in range(50)]
    assert together.tolist() == alone and len(set(alone)) > 3


def test_random_numbers_are_even_and_unrelated(tf):
    from trainer.text.sampling import uniform

    count = 50_000
    for seeds, positions in (
        (np.arange(count), np.zeros(count)),
        (np.zeros(count), np.arange(count)),
        (np.arange(count) << 32, np.ones(count)),
    ):
        numbers = uniform(tf.constant(seeds, tf.int64), tf.constant(positions, tf.int64)).numpy()
        assert numbers.min() >= 0 and numbers.max() < 1
        observed = np.histogram(numbers, 64, (0, 1))[0]
        assert ((observed - count / 64) ** 2 / (count / 64)).sum() < largest_chi_square(63)
        assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02

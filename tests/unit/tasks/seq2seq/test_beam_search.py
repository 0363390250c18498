"""Beam search against brute force over every sequence of a small space, and what it promises on a larger one."""

import itertools

import numpy as np
import pytest
from table_decoder import SOURCE, VOCABULARY, Memory, TableDecoder, large_space

from trainer.dataset.special_tokens import END, PAD, START
from trainer.tasks.seq2seq.flags import SearchFlags

WORDS = (1, 4, 5, 6)
LIMIT = 4
ALL = 1 + 4 + 16 + 64  # translations of up to LIMIT tokens, the end token included
PLAIN = SearchFlags(beam_size=5, length_penalty=0.0)


def prefix_number(tokens):
    number = 0
    for token in tokens:
        number = number * VOCABULARY + token
    return number


@pytest.fixture(scope="module")
def space(tf):
    """Five rows of random tables; the last source is shorter than the batch."""
    random = np.random.default_rng(3)
    prefixes = VOCABULARY ** (LIMIT - 1)
    logits = random.normal(0, 2, (5, prefixes, VOCABULARY)).astype(np.float32)
    mask = np.ones((5, SOURCE), bool)
    mask[4, 2] = False
    attention = random.dirichlet(np.full(SOURCE, 0.5), (5, prefixes)) * mask[:, None]
    attention = (attention / attention.sum(-1, keepdims=True)).astype(np.float32)
    return logits, attention, mask


def run(tf, space, search, rows=(0, 1, 2, 3, 4), limit=LIMIT, in_graph=True, **options):
    from trainer.tasks.seq2seq.beam_search import beam_search

    logits, attention, mask = space
    decoder = TableDecoder(tf, tf.constant(logits), tf.constant(attention))
    memory = Memory(tf.constant(rows, tf.int32), tf.constant(mask[list(rows)]))
    limits = tf.constant(np.broadcast_to(limit, len(rows)), tf.int32)

    def found(row, mask, limits):
        return beam_search(decoder, Memory(row, mask), limits, search, **options)

    if in_graph:
        specs = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([None], tf.int32)]
        found = tf.function(found, input_signature=specs)
    result = found(*memory, limits)
    return result._replace(**{name: part.numpy() for name, part in result._asdict().items() if part is not None})


def brute_force(space, row, search, limit=LIMIT):
    """Every translation with its penalised score, its log probability and its attention, best first."""
    logits, attention, mask = (part[row].astype(np.float64) if part.dtype != bool else part[row] for part in space)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found = []
    for length in range(limit):
        for tokens in itertools.product(WORDS, repeat=length):
            numbers = [prefix_number(tokens[:count]) for count in range(length + 1)]
            nats = sum(log_p[number, token] for number, token in zip(numbers, (*tokens, END)))
            score = nats / ((5 + length + 1) / 6) ** search.length_penalty
            coverage = np.minimum(attention[numbers].sum(0), 1)[mask]
            score += search.coverage_penalty * np.log(coverage).sum()
            found.append((score, nats, tokens, attention[numbers[:-1]]))
    return sorted(found, key=lambda entry: -entry[0])


def tokens_of(result, row, index=0):
    return tuple(result.tokens[row, index, : result.lengths[row, index]].tolist())


@pytest.mark.parametrize("length_penalty, coverage_penalty", [(0.0, 0.0), (0.6, 0.0), (1.0, 0.4)])
def test_a_beam_as_wide_as_the_space_finds_what_brute_force_finds(tf, space, length_penalty, coverage_penalty):
    search = SearchFlags(beam_size=ALL, length_penalty=length_penalty, coverage_penalty=coverage_penalty)
    result = run(tf, space, search, n_best=ALL, attention=True)
    best = run(tf, space, search)  # which may end early
    for row in range(5):
        expected = brute_force(space, row, search)
        assert len(expected) == ALL and tokens_of(best, row) == expected[0][2]
        assert [tokens_of(result, row, index) for index in range(ALL)] == [tokens for _, _, tokens, _ in expected]
        np.testing.assert_allclose(result.scores[row], [score for score, *_ in expected], rtol=1e-5)
        np.testing.assert_allclose(result.log_probabilities[row], [nats for _, nats, *_ in expected], rtol=1e-5)
        for index, (_, _, tokens, weights) in enumerate(expected):
            np.testing.assert_allclose(
                result.attention[row, index, : len(tokens)], weights.reshape(-1, SOURCE), rtol=1e-6
            )
            assert (
                not result.attention[row, index, len(tokens) :].any()
                and not result.tokens[row, index, len(tokens) :].any()
            )


def test_a_space_smaller_than_the_beam_leaves_places_empty(tf, space):
    search = SearchFlags(beam_size=100, length_penalty=0.6)
    result = run(tf, space, search, n_best=100)
    assert (np.isfinite(result.scores).sum(axis=1) == ALL).all() and not result.lengths[:, ALL:].any()
    assert len({tokens_of(result, 0, index) for index in range(ALL)}) == ALL, "a translation is given twice"


def test_rows_have_limits_of_their_own(tf, space):
    search = SearchFlags(beam_size=64, length_penalty=0.0)
    result = run(tf, space, search, limit=[1, 2, 3, 4, 2])
    for row, limit in enumerate([1, 2, 3, 4, 2]):
        assert tokens_of(result, row) == brute_force(space, row, search, limit)[0][2]
    assert result.lengths[0, 0] == 0, "the limit is an end token alone"


@pytest.mark.parametrize("in_graph", [True, False])
def test_a_row_does_not_depend_on_its_neighbours(tf, space, in_graph):
    search = SearchFlags(beam_size=3, length_penalty=0.6, coverage_penalty=0.2)
    together = run(tf, space, search, n_best=3, in_graph=in_graph)
    for row in range(5):
        alone = run(tf, space, search, rows=[row], n_best=3, in_graph=in_graph)
        assert [tokens_of(alone, 0, index) for index in range(3)] == [
            tokens_of(together, row, index) for index in range(3)
        ]
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


@pytest.mark.parametrize("beam_size", [1, 2, 5])
@pytest.mark.parametrize("penalties", [(0.0, 0.0), (0.6, 0.0), (1.0, 0.5)])
def test_the_best_is_never_worse_than_greedy(tf, beam_size, penalties):
    """In random tables the greedy hypothesis often falls out of a narrow beam."""
    from trainer.tasks.seq2seq.decoding import greedy

    space = large_space(300, 12, seed=beam_size)
    search = SearchFlags(beam_size, *penalties)
    rows = list(range(300))
    decoder = TableDecoder(tf, tf.constant(space[0]), tf.constant(space[1]))
    by_hand = tf.function(
        lambda: greedy(decoder, Memory(tf.constant(rows), tf.constant(space[2])), tf.fill([300], 12), search)
    )()
    result = run(tf, space, search, rows=rows, limit=12)
    assert (result.scores[:, 0] >= by_hand.scores.numpy()[:, 0]).all()
    if beam_size == 1 and penalties == (0.0, 0.0):
        assert [tokens_of(result, row) for row in rows] == [
            tuple(by_hand.tokens[row, 0, : by_hand.lengths[row, 0]].numpy()) for row in rows
        ]
    if beam_size > 1:
        assert (result.scores[:, 0] > by_hand.scores.numpy()[:, 0] + 1e-3).sum() > 20, "the search finds nothing better"


def test_ending_early_changes_nothing(tf):
    """A search for four translations goes on longer than one for the best, and finds the same best."""
    space = large_space(60, 12, seed=9)
    search = SearchFlags(beam_size=4, length_penalty=0.8)
    rows = list(range(60))
    short = run(tf, space, search, rows=rows, limit=12)
    long = run(tf, space, search, rows=rows, limit=12, n_best=4)
    assert [tokens_of(short, row) for row in rows] == [tokens_of(long, row) for row in rows]
    np.testing.assert_array_equal(short.scores[:, 0], long.scores[:, 0])
    assert (np.diff(long.scores, axis=1) <= 0).all()


def test_scores_are_those_of_the_tokens(tf):
    """Every hypothesis of a narrow beam, scored again by walking through the tables."""
    space = large_space(20, 12, seed=4)
    search = SearchFlags(beam_size=3, length_penalty=0.7, coverage_penalty=0.3)
    result = run(tf, space, search, rows=list(range(20)), limit=12, n_best=3, attention=True)
    for row, index in itertools.product(range(20), range(3)):
        tokens, prefix, nats, coverage = tokens_of(result, row, index), 0, 0.0, np.zeros(SOURCE)
        assert not {PAD, START, END} & set(tokens)
        for place, token in enumerate((*tokens, END)):
            logits = space[0][row, prefix].astype(np.float64)
            nats += logits[token] - np.log(np.exp(logits).sum())
            coverage += space[1][row, prefix]
            if token != END:
                np.testing.assert_array_equal(result.attention[row, index, place], space[1][row, prefix])
            prefix = (prefix * VOCABULARY + token) % 243
        assert result.log_probabilities[row, index] == pytest.approx(nats, rel=1e-5)
        score = nats / ((6 + len(tokens)) / 6) ** 0.7 + 0.3 * np.log(np.minimum(coverage, 1)).sum()
        assert result.scores[row, index] == pytest.approx(score, rel=1e-5)


def test_equal_candidates_go_to_the_lower_number(tf):
    """All tokens of all prefixes are equally likely: without a penalty shorter is likelier, then the lower token comes
    first.
    """
    logits = np.zeros((2, VOCABULARY ** (LIMIT - 1), VOCABULARY), np.float32)
    attention = np.full((2, VOCABULARY ** (LIMIT - 1), SOURCE), 1 / SOURCE, np.float32)
    flat = (logits, attention, np.ones((2, SOURCE), bool))
    result = run(tf, flat, SearchFlags(beam_size=6, length_penalty=0.0), rows=[0, 1], n_best=6)
    found = [tokens_of(result, 0, index) for index in range(6)]
    assert found[:5] == [(), (1,), (4,), (5,), (6,)] and len(found[5]) == 2
    assert found == [tokens_of(result, 1, index) for index in range(6)]


@pytest.mark.parametrize(("size", "count"), [(640, 8), (600, 3), (128, 1), (127, 8), (64, 8), (6400, 8)])
def test_the_largest_are_those_of_a_full_sort(tf, size, count):
    """With many equal values, whose order is that of their places, and some of -inf."""
    from trainer.tasks.seq2seq.beam_search import largest

    random = np.random.default_rng(size)
    for distinct in (4, 30, 10**6):
        values = random.integers(0, distinct, (20, size)).astype(np.float32)
        values[:, ::5] = -np.inf
        expected = np.argsort(-values, axis=1, kind="stable")[:, :count]
        found, places = largest(tf.constant(values), count)
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(found, np.take_along_axis(values, expected, axis=1))

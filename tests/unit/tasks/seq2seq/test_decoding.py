"""Greedy search and sampling against a Python loop over the same tables."""

import numpy as np
from table_decoder import VOCABULARY, Memory, TableDecoder, large_space

from trainer.dataset.special_tokens import END, PAD, START
from trainer.tasks.seq2seq.flags import SearchFlags

ROWS = 40


def by_hand(space, row, limit, choose):
    """Tokens and log probability of one row, token by token."""
    tokens, prefix, nats = [], 0, 0.0
    while True:
        logits = space[0][row, prefix].astype(np.float64)
        allowed = logits.copy()
        allowed[[PAD, START]] = -np.inf
        token = END if len(tokens) + 1 == limit else choose(allowed, len(tokens))
        nats += logits[token] - np.log(np.exp(logits).sum())
        if token == END:
            return tokens, nats
        tokens.append(token)
        prefix = (prefix * VOCABULARY + token) % 243


def check(result, space, limits, choose_of):
    for row in range(ROWS):
        tokens, nats = by_hand(space, row, limits[row], choose_of(row))
        assert result.tokens[row, 0, : result.lengths[row, 0]].numpy().tolist() == tokens
        assert not result.tokens[row, 0, len(tokens) :].numpy().any()
        np.testing.assert_allclose(result.log_probabilities[row, 0], nats, rtol=1e-5)
        np.testing.assert_allclose(result.scores[row, 0], nats / ((6 + len(tokens)) / 6) ** 0.5, rtol=1e-5)


def decode(tf, space, how, limits, *more):
    decoder = TableDecoder(tf, tf.constant(space[0]), tf.constant(space[1]))
    memory = Memory(tf.range(ROWS), tf.constant(space[2]))
    return tf.function(
        lambda: how(decoder, memory, tf.constant(limits, tf.int32), SearchFlags(length_penalty=0.5), *more)
    )()


def test_greedy_takes_the_likeliest_token_to_the_end_or_the_limit(tf):
    from trainer.tasks.seq2seq.decoding import greedy

    space, limits = large_space(ROWS, 12, seed=1), np.arange(ROWS) % 9 + 1
    result = decode(tf, space, greedy, limits)
    check(result, space, limits, lambda row: lambda logits, step: int(np.argmax(logits)))
    assert (result.lengths.numpy()[:, 0] == limits - 1).any() and (result.lengths.numpy()[:, 0] < limits - 1).any()


def test_samples_depend_on_the_rows_seed(tf):
    from trainer.tasks.seq2seq.decoding import sample_hypotheses
    from trainer.text.sampling import Sampling, sample

    space, limits = large_space(ROWS, 12, seed=2), np.full(ROWS, 12)
    seeds = np.arange(ROWS) + 100

    def how(first, last):
        size = last - first
        return Sampling(
            tf.fill([size], 0.8), tf.fill([size], 0), tf.fill([size], 0.9), tf.constant(seeds[first:last], tf.int64)
        )

    def alone(row):
        def choose(logits, step):
            return int(
                sample(tf.constant(logits[None], tf.float32), how(row, row + 1), tf.constant([step], tf.int64))[0]
            )

        return choose

    check(decode(tf, space, sample_hypotheses, limits, how(0, ROWS)), space, limits, alone)


def test_the_limit_grows_with_the_source(tf):
    from trainer.tasks.seq2seq.decoding import length_limit

    assert length_limit(tf.constant([1, 20])).numpy().tolist() == [12, 50]

"""Attention against loops in numpy, one score at a time."""

import numpy as np
import pytest

from trainer.tasks.seq2seq.attention import KINDS

B, T, S, Q, M = 3, 4, 5, 6, 7


def by_hand(kind, weights, queries, memory, lengths):
    """Contexts and weights, by the papers' formulas."""
    contexts, attended = np.zeros((B, T, M)), np.zeros((B, T, S))
    for b in range(B):
        for t in range(T):
            scores = []
            for s in range(lengths[b]):
                if kind.startswith("luong"):
                    score = queries[b, t] @ weights["memory_kernel"].T @ memory[b, s]
                    score *= weights.get("scale", 1.0)
                else:
                    inside = queries[b, t] @ weights["query_kernel"] + memory[b, s] @ weights["memory_kernel"]
                    vector = weights["vector"]
                    if kind == "bahdanau_normalized":
                        inside = inside + weights["bias"]
                        vector = weights["length"] * vector / np.linalg.norm(vector)
                    score = vector @ np.tanh(inside)
                scores.append(score)
            each = np.exp(np.array(scores) - max(scores))
            attended[b, t, : lengths[b]] = each / each.sum()
            contexts[b, t] = attended[b, t] @ memory[b]
    return contexts, attended


@pytest.mark.parametrize("kind", KINDS)
def test_against_a_loop(tf, kind):
    from trainer.tasks.seq2seq.attention import Attention

    random = np.random.default_rng(KINDS.index(kind))
    layer = Attention(kind, Q, M, "float32")
    for variable in layer.weights:
        variable.assign(random.normal(0, 1, variable.shape))
    queries, memory = (
        random.normal(0, 1, (B, T, Q)).astype(np.float32),
        random.normal(0, 1, (B, S, M)).astype(np.float32),
    )
    lengths = np.array([S, 1, 3])
    contexts, attended = layer(
        queries, layer.keys(tf.constant(memory)), tf.constant(memory), tf.sequence_mask(lengths, S)
    )
    expected, weights = by_hand(kind, {v.name: v.numpy() for v in layer.weights}, queries, memory, lengths)
    np.testing.assert_allclose(contexts, expected, atol=1e-5)
    np.testing.assert_allclose(attended, weights, atol=1e-5)
    assert attended.dtype == tf.float32


@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_no_weight_and_no_gradient_whatever_stands_there(tf, kind):
    from trainer.tasks.seq2seq.attention import Attention

    layer = Attention(kind, Q, M, "float32")
    random = np.random.default_rng(0)
    queries = tf.constant(random.normal(0, 1, (B, T, Q)), tf.float32)
    mask = tf.sequence_mask([2, 5, 1], S)
    values = tf.constant(random.normal(0, 1, (B, S, M)), tf.float32)
    results = []
    for filling in (0.0, 1e4):
        memory = tf.where(mask[:, :, None], values, filling)
        with tf.GradientTape() as tape:
            tape.watch(memory)
            contexts, weights = layer(queries, layer.keys(memory), memory, mask)
            total = tf.reduce_sum(contexts**2)
        gradient = tape.gradient(total, memory)
        assert (weights.numpy()[~np.broadcast_to(mask.numpy()[:, None], weights.shape)] == 0).all()
        assert (gradient.numpy()[~mask.numpy()] == 0).all()
        results.append(contexts.numpy())
    np.testing.assert_array_equal(*results)


def test_half_precision_scores_in_float32(tf):
    from trainer.tasks.seq2seq.attention import Attention

    layer = Attention("luong_scaled", Q, M, "mixed_bfloat16")
    memory, queries = tf.ones([B, S, M], tf.bfloat16), tf.ones([B, T, Q], tf.bfloat16)
    contexts, weights = layer(queries, layer.keys(memory), memory, tf.ones([B, S], tf.bool))
    assert contexts.dtype == tf.bfloat16 and weights.dtype == tf.float32
    np.testing.assert_allclose(weights, 1 / S, atol=1e-6)

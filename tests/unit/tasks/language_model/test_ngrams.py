import numpy as np
import pytest


def test_rows_of_ngrams_where_the_table_has_room(tf):
    from trainer.tasks.language_model.ngrams import ngram_rows

    tokens = np.random.default_rng(0).integers(0, 7, (3, 9)).astype(np.int32)
    rows = ngram_rows(tf.constant(tokens), 3, 7, 343).numpy()
    np.testing.assert_array_equal(rows, tokens[:, :-2] * 49 + tokens[:, 1:-1] * 7 + tokens[:, 2:])


@pytest.mark.parametrize("vocabulary", [70, 30_000])
def test_hashed_rows_are_even_and_depend_on_the_ngram_alone(tf, vocabulary):
    from trainer.tasks.language_model.ngrams import ngram_rows

    tokens = np.random.default_rng(0).integers(0, vocabulary, (1, 64_003)).astype(np.int32)
    rows = ngram_rows(tf.constant(tokens), 4, vocabulary, 1000).numpy()[0]
    counts = np.bincount(rows, minlength=1000)
    assert rows.min() >= 0 and len(counts) == 1000
    assert ((counts - 64) ** 2 / 64).sum() < 1000 + 6 * np.sqrt(2000)  # chi-square of an even spread
    again = ngram_rows(tf.constant(tokens[:, 100:104]), 4, vocabulary, 1000).numpy()
    assert again[0, 0] == rows[100]


def test_layer_adds_what_tables_hold_and_keeps_the_last_valid_tokens(tf):
    from trainer.tasks.language_model.ngrams import NgramEmbedding

    layer = NgramEmbedding(5, 3, 200, 4, 0.5, "float32")
    tokens = np.array([[1, 2, 3, 4], [4, 4, 0, 0]], np.int32)
    history = np.array([[3, 2], [0, 0]], np.int32)
    got = layer(tf.constant(tokens), tf.constant(history)).numpy()
    two, three = (variable.numpy() for variable in layer.weights)
    assert two.shape == (25, 4) and three.shape == (125, 4)
    known = np.concatenate([history, tokens], axis=1)
    for b in range(2):
        for t in range(4):
            a, b2, c = known[b, t : t + 3]
            np.testing.assert_allclose(got[b, t], two[b2 * 5 + c] + three[(a * 5 + b2) * 5 + c], rtol=1e-6)
    np.testing.assert_array_equal(layer.next_history(tf.constant(tokens), tf.constant(history), None), [[3, 4], [0, 0]])
    lengths = tf.constant([1, 2])
    np.testing.assert_array_equal(
        layer.next_history(tf.constant(tokens), tf.constant(history), lengths), [[2, 1], [4, 4]]
    )

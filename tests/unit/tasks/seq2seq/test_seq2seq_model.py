"""The encoder-decoder: padding is inert, and single steps give what whole sequences give."""

import numpy as np
import pytest

from trainer.config.train import ModelFlags
from trainer.tasks.seq2seq.attention import KINDS
from trainer.tasks.seq2seq.flags import TranslationFlags
from trainer.text.flags import EmbeddingFlags

SOURCE, TARGET = 11, 9


def built(tf, kind="luong_scaled", feeding=False, cell="gru", layers=1, joint=False, tied=True, **model):
    import keras

    from trainer.tasks.seq2seq.model import Seq2Seq

    keras.utils.set_random_seed(1)
    translation = TranslationFlags(attention=kind, input_feeding=feeding)
    shape = ModelFlags(cell=cell, num_layers=layers, units=6, **model)
    seq2seq = Seq2Seq(
        TARGET if joint else SOURCE, TARGET, joint, translation, EmbeddingFlags(5, tied), shape, "float32"
    )
    seq2seq(tf.ones([1, 2], tf.int32), tf.ones([1], tf.int32), tf.ones([1, 2], tf.int32))
    random = np.random.default_rng(0)
    for variable in seq2seq.trainable_variables:  # large weights: an error in a mask must show
        variable.assign(random.normal(0, 0.7, variable.shape))
    return seq2seq


def batch(tf, rows=4, source=7, target=5, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, source + 1, rows)
    lengths[0] = source
    ids = random.integers(4, TARGET, (rows, source)) * (np.arange(source) < lengths[:, None])
    return (
        tf.constant(ids, tf.int32),
        tf.constant(lengths, tf.int32),
        tf.constant(random.integers(2, TARGET, (rows, target)), tf.int32),
    )


EVERY_WAY = [
    *((kind, kind in KINDS[1:3], "gru", 1) for kind in KINDS),
    ("luong_general", True, "lstm", 2),
    ("bahdanau", False, "lstm", 1),
    ("bahdanau_normalized", True, "gru", 2),
]


@pytest.mark.parametrize("kind, feeding, cell, layers", EVERY_WAY)
def test_single_steps_give_the_logits_of_whole_sequences(tf, kind, feeding, cell, layers):
    model = built(tf, kind, feeding, cell, layers, residual=layers > 1)
    source, lengths, target = batch(tf)
    memory = model.encode(source, lengths)
    whole = model.decode(memory, target).numpy()
    state = model.start(memory)
    for t in range(target.shape[1]):
        logits, weights, state = model.step(memory, target[:, t], state)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
        np.testing.assert_allclose(weights.numpy().sum(axis=1), 1, atol=1e-6)
        assert (weights.numpy()[np.arange(7)[None] >= lengths.numpy()[:, None]] == 0).all()


@pytest.mark.parametrize("kind, feeding, cell, layers", EVERY_WAY[::3])
def test_padding_and_neighbours_change_no_logit(tf, kind, feeding, cell, layers):
    """The issue's fifth point: each row alone, without padding, has the logits that it has among padded neighbours."""
    model = built(tf, kind, feeding, cell, layers, layer_norm=layers > 1)
    source, lengths, target = batch(tf, rows=6)
    together = model(source, lengths, target).numpy()
    dirty = tf.where(
        tf.sequence_mask(lengths, 12), tf.pad(source, [[0, 0], [0, 5]]), 7
    )  # more padding, and other ids in it
    padded = model(dirty, lengths, tf.pad(target, [[0, 0], [0, 3]], constant_values=3)).numpy()[:, : target.shape[1]]
    np.testing.assert_allclose(padded, together, atol=1e-5)
    for row, length in enumerate(lengths.numpy()):
        alone = model(source[row : row + 1, :length], lengths[row : row + 1], target[row : row + 1]).numpy()[0]
        np.testing.assert_allclose(alone, together[row], atol=1e-5)


def test_later_target_tokens_have_no_effect_on_earlier_logits(tf):
    model = built(tf)
    source, lengths, target = batch(tf)
    changed = tf.concat([target[:, :3], 8 - target[:, 3:]], axis=1)
    before, after = model(source, lengths, target).numpy(), model(source, lengths, changed).numpy()
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any()


def test_shared_and_separate_vocabularies_and_weights(tf):
    count = {
        (joint, tied): sum(int(np.prod(v.shape)) for v in built(tf, joint=joint, tied=tied).trainable_variables)
        for joint in (True, False)
        for tied in (True, False)
    }
    assert count[False, True] - count[True, True] == SOURCE * 5
    assert count[True, False] - count[True, True] == TARGET * 5
    paths = [variable.path for variable in built(tf, layers=2).weights]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("feeding", [False, True])
def test_gradients_against_differences(tf, feeding):
    model = built(tf, "bahdanau_normalized", feeding)
    source, lengths, target = batch(tf, rows=3)
    labels = np.roll(target.numpy(), -1, axis=1)

    @tf.function
    def loss():
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(source, lengths, target)))

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, [v.value for v in model.trainable_variables])

    found = gradients()
    for variable, gradient in zip(model.trainable_variables, found):
        direction = np.random.default_rng(3).normal(0, 1, variable.shape).astype(np.float32)
        base, step = variable.numpy(), 2e-3
        values = []
        for sign in (1, -1):
            variable.assign(base + sign * step * direction)
            values.append(float(loss()))
        variable.assign(base)
        expected = float(np.sum(tf.convert_to_tensor(gradient).numpy() * direction))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=0.03, abs=0.03), variable.path


def test_dropout_is_a_function_of_the_noise(tf):
    from trainer.nn.step_context import StepContext

    model = built(tf, dropout=0.4, recurrent_dropout=0.2)
    arguments = batch(tf)
    keys = [StepContext.of(0, tf.constant(step), tf.constant(0)) for step in (1, 1, 2)]
    first, again, other = (model(*arguments, context=key).numpy() for key in keys)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (model(*arguments).numpy() != first).any()


def test_variational_dropout_drops_the_same_units_at_all_steps(tf):
    from trainer.nn.step_context import StepContext, dropout

    context = StepContext.of(0, tf.constant(1), tf.constant(0))
    kept = dropout(tf.ones([3, 5, 64]), 0.5, context, "x", same_over_time=True).numpy()
    np.testing.assert_array_equal(kept, np.repeat(kept[:, :1], 5, axis=1))
    assert (kept[0] != kept[1]).any() and set(np.unique(kept)) == {0.0, 2.0}
    arguments = batch(tf)
    plain, same = (
        built(tf, dropout=0.4, layers=2, variational_dropout=each)(*arguments, context=context).numpy()
        for each in (False, True)
    )
    assert (plain != same).any()

"""The loss of the output layer against numpy, its gradient against TensorFlow's."""

import numpy as np
import pytest

N, E, V = 37, 5, 11


def example(tf, dtype="float32"):
    random = np.random.default_rng(0)
    outputs, matrix, bias = (tf.constant(random.normal(0, 1.5, shape), tf.float32) for shape in ((N, E), (V, E), (V,)))
    weights = tf.constant(random.integers(0, 2, N), tf.float32)
    return tf.cast(outputs, dtype), matrix, bias, tf.constant(random.integers(0, V, N), tf.int32), weights


def graph(tf, smoothing, rows, dtype="float32"):
    """Loss and gradients by outputs, matrix and bias, traced with N known or unknown."""
    from trainer.nn.cross_entropy import smoothed_cross_entropy

    arguments = example(tf, dtype)
    shapes = [[rows, E], [V, E], [V], [rows], [rows]]

    @tf.function(input_signature=[tf.TensorSpec(shape, value.dtype) for shape, value in zip(shapes, arguments)])
    def run(outputs, matrix, bias, labels, weights):
        with tf.GradientTape() as tape:
            tape.watch([outputs, matrix, bias])
            loss = smoothed_cross_entropy(outputs, matrix, bias, labels, weights, smoothing)
            scaled = 0.25 * loss
        return loss, tape.gradient(scaled, [outputs, matrix, bias])

    return arguments, *run(*arguments)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [N, None])
def test_loss_by_hand(tf, smoothing, rows):
    (outputs, matrix, bias, labels, weights), loss, _ = graph(tf, smoothing, rows)
    expected = 0.0
    for x, label, weight in zip(outputs.numpy().astype(np.float64), labels.numpy(), weights.numpy()):
        logits = matrix.numpy() @ x + bias.numpy()
        log_probabilities = logits - np.log(np.exp(logits).sum())
        aims = np.full(V, smoothing / V)
        aims[label] += 1 - smoothing
        expected -= weight * aims @ log_probabilities
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rows", [N, None])
def test_gradient_is_that_of_the_plain_formula(tf, rows):
    (outputs, matrix, bias, labels, weights), _, found = graph(tf, 0.1, rows)
    with tf.GradientTape() as tape:
        tape.watch([outputs, matrix, bias])
        aims = tf.one_hot(labels, V) * 0.9 + 0.1 / V
        logits = tf.matmul(outputs, matrix, transpose_b=True) + bias
        plain = 0.25 * tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(aims, logits) * weights)
    for gradient, expected in zip(found, tape.gradient(plain, [outputs, matrix, bias])):
        assert gradient.shape == expected.shape
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_half_precision_keeps_to_its_types(tf):
    _, exact, _ = graph(tf, 0.1, None)
    _, loss, gradients = graph(tf, 0.1, None, "bfloat16")
    assert [gradient.dtype.name for gradient in gradients] == ["bfloat16", "float32", "float32"]
    assert loss.dtype == tf.float32 and float(loss) == pytest.approx(float(exact), rel=0.02)

import numpy as np
import pytest

from trainer.config.train import OptimizerFlags


def run(tf, config, gradients, scale_loss=False, start=None, gates=(0, 0)):
    """Applies a list of gradient lists one by one under one device; gives the weights and the optimizer."""
    from trainer.training.optimizer import Optimizer

    variables = [tf.Variable(value) for value in (start or [np.ones((2, 3), np.float32), np.ones(3, np.float32)])]
    optimizer = Optimizer(config, variables, gates, scale_loss)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    norms = []
    for gradient in gradients:
        arguments = [tf.constant(g) for g in gradient], tf.constant(config.learning_rate)
        norms.append(float(strategy.run(optimizer.apply, arguments)))
    return [variable.numpy() for variable in variables], optimizer, norms


@pytest.fixture
def gradients():
    random = np.random.default_rng(0)
    return [[random.normal(size=(2, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)] for _ in range(5)]


def test_adam_with_clipping_is_the_papers(tf, gradients):
    config = OptimizerFlags(learning_rate=0.1, clip_norm=0.7)
    weights, optimizer, norms = run(tf, config, gradients)
    w = [np.ones((2, 3)), np.ones(3)]
    m, v = [np.zeros((2, 3)), np.zeros(3)], [np.zeros((2, 3)), np.zeros(3)]
    for t, pair in enumerate(gradients, 1):
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in pair))
        assert norms[t - 1] == pytest.approx(norm, rel=1e-5)
        for i, g in enumerate(pair):
            g = g * min(1.0, 0.7 / norm)
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            w[i] = w[i] - 0.1 * (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    for ours, expected in zip(weights, w):
        np.testing.assert_allclose(ours, expected, rtol=1e-4)
    assert int(optimizer.step) == 5


def test_weight_decay_is_decoupled_and_spares_vectors(tf):
    still = [[np.zeros((2, 3), np.float32), np.zeros(3, np.float32)]]
    weights, _, _ = run(tf, OptimizerFlags(optimizer="adamw", learning_rate=0.1, weight_decay=0.5), still)
    np.testing.assert_allclose(weights[0], 0.95)
    np.testing.assert_array_equal(weights[1], 1.0)


def test_momentum(tf, gradients):
    config = OptimizerFlags(optimizer="sgd", learning_rate=0.1, momentum=0.9, clip_norm=0.0)
    weights, _, _ = run(tf, config, gradients)
    velocity, w = np.zeros(3), np.ones(3)
    for _, g in gradients:
        velocity = 0.9 * velocity + g
        w = w - 0.1 * velocity
    np.testing.assert_allclose(weights[1], w, rtol=1e-5)


def test_infinite_gradients_change_nothing_but_the_loss_scale(tf, gradients):
    config = OptimizerFlags(learning_rate=0.1)
    overflow = [np.full((2, 3), np.inf, np.float32), np.ones(3, np.float32)]
    with_it, optimizer, _ = run(tf, config, [gradients[0], overflow], scale_loss=True)
    without, _, _ = run(tf, config, gradients[:1], scale_loss=True)
    for ours, expected in zip(with_it, without):
        np.testing.assert_array_equal(ours, expected)
    assert float(optimizer.loss_scale) == 2.0**14 and int(optimizer.good_steps) == 0


def test_schedules(tf):
    from trainer.training.optimizer import learning_rate

    def rate(schedule, step, progress, warmup=0):
        config = OptimizerFlags(learning_rate=2.0, schedule=schedule, warmup_steps=warmup)
        return float(learning_rate(config, tf.constant(step, tf.int64), tf.constant(progress)))

    assert rate("constant", 5, 0.9) == 2.0
    assert rate("linear", 5, 0.75) == pytest.approx(0.5)
    assert rate("cosine", 5, 0.25) == pytest.approx(1 + np.cos(np.pi * 0.25), rel=1e-6)
    assert rate("cosine", 5, 1.5) == pytest.approx(0.0, abs=1e-6)
    assert [rate("constant", step, 0.0, warmup=4) for step in range(5)] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])


def test_muon_sets_the_singular_values_of_every_gate_to_one_and_leaves_vectors_to_adam(tf):
    random = np.random.default_rng(1)
    gradient = [random.normal(size=(6, 12)).astype(np.float32), random.normal(size=3).astype(np.float32)]
    start = [np.zeros((6, 12), np.float32), np.zeros(3, np.float32)]
    muon = OptimizerFlags(optimizer="muon", learning_rate=0.1, clip_norm=0.0)
    weights, optimizer, _ = run(tf, muon, [gradient], start=start, gates=(3, 0))
    assert [len(slots) for slots in optimizer.slots] == [1, 2]
    for gate in range(3):
        columns = slice(4 * gate, 4 * gate + 4)
        u, _, v = np.linalg.svd(gradient[0][:, columns], full_matrices=False)
        moved = u.T @ weights[0][:, columns] @ v.T / (-0.1 * 0.2 * np.sqrt(6))
        assert np.abs(moved - np.diag(np.diag(moved))).max() < 1e-4  # the same singular vectors
        assert np.all((np.diag(moved) > 0.65) & (np.diag(moved) < 1.25))
    adam, _, _ = run(tf, OptimizerFlags(learning_rate=0.1, clip_norm=0.0), [gradient], start=start)
    np.testing.assert_array_equal(weights[1], adam[1])


def test_muon_keeps_a_momentum(tf):
    random = np.random.default_rng(1)
    gradients = [[random.normal(size=(3, 3)).astype(np.float32), np.ones(3, np.float32)] for _ in range(3)]
    muon = OptimizerFlags(optimizer="muon", learning_rate=0.1, clip_norm=0.0)
    _, optimizer, _ = run(
        tf, muon, gradients, start=[np.zeros((3, 3), np.float32), np.zeros(3, np.float32)], gates=(1, 0)
    )
    expected = sum(0.95 ** (2 - t) * gradients[t][0] for t in range(3))
    np.testing.assert_allclose(optimizer.slots[0][0], expected, rtol=1e-5)


def test_which_variables_hold_gates(tf):
    from trainer.nn.recurrent import RecurrentStack, gate_counts

    stack = RecurrentStack("gru", 2, 5, 0.0, "float32", layer_norm=True)
    stack(tf.zeros([1, 2, 3]))
    found = {
        variable.path.rpartition("recurrent/")[2]: count
        for variable, count in zip(stack.weights, gate_counts(stack.weights))
    }
    assert {path for path, count in found.items() if count == 3} == {
        f"gru_{i}/{name}" for i in (0, 1) for name in ("kernel", "recurrent_kernel")
    }
    assert {count for path, count in found.items() if "norm" in path or "bias" in path} == {0}

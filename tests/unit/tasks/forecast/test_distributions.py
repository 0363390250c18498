"""Distributions against formulas with math.lgamma, published quantiles, torch.distributions, and counting."""

import math
from statistics import NormalDist

import numpy as np
import pytest

LEVELS = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
SERIES = np.array([[0], [1], [1]], np.int32)
MEAN, STD = np.array([10.0, 3.0]), np.array([4.0, 2.5])


def made(tf, name):
    from trainer.tasks.forecast.model.distributions import DISTRIBUTIONS

    return DISTRIBUTIONS[name](LEVELS, MEAN, STD)


def numbers_of(size, seed=0, spread=1.0):
    return np.random.default_rng(seed).normal(scale=spread, size=(3, 4, 1, size)).astype(np.float32)


def numbers_for(distribution, seed=0, spread=1.0):
    """Random numbers as a forecaster gives them, the window's unit last."""
    numbers = numbers_of(distribution.size + 1, seed, spread)
    numbers[..., -1] = 0.2 + np.abs(numbers[..., -1])
    return numbers


def softplus(x):
    return np.logaddexp(0, x)


ONE = math.log(math.e - 1)


def test_quantiles_never_cross_and_train_as_a_loop_of_pinballs(tf):
    quantiles = made(tf, "quantiles")
    numbers = numbers_for(quantiles, spread=30)
    found = quantiles.quantiles(numbers, SERIES).numpy()
    assert (np.diff(found, axis=-1) >= 0).all() and np.isfinite(found).all()
    np.testing.assert_array_equal(found[..., 3], numbers[..., 0])
    target = numbers_of(1, 5)[..., 0]
    want = [
        np.mean([2 * max(a * (y - q), (a - 1) * (y - q)) for a, q in zip(LEVELS, row)])
        for y, row in zip(target.reshape(-1), found.reshape(-1, len(LEVELS)).astype(float))
    ]
    np.testing.assert_allclose(quantiles.loss(numbers, target, SERIES).numpy().reshape(-1), want, rtol=1e-5)


def test_quantiles_begin_as_those_of_a_normal_distribution(tf):
    found = (
        made(tf, "quantiles")
        .quantiles(np.eye(len(LEVELS) + 1, dtype=np.float32)[None, None, -1:], SERIES[:1])
        .numpy()
        .reshape(-1)
    )
    np.testing.assert_allclose(found[[0, 1, 3, 5, 6]], [-1.644854, -1.281552, 0, 1.281552, 1.644854], atol=1e-5)


def test_the_pinball_loss_is_least_at_the_quantiles_of_the_data(tf):
    """The definition of a quantile (Koenker and Bassett 1978), by trying all values."""
    from trainer.tasks.forecast.model.distributions import quantile_loss

    values = np.random.default_rng(1).exponential(size=999).astype(np.float32)
    for level in (0.1, 0.5, 0.9):
        tried = np.sort(values)
        losses = [float(tf.reduce_mean(quantile_loss(tf.fill([999, 1], q), values, [level]))) for q in tried[::3]]
        assert abs(tried[::3][int(np.argmin(losses))] - np.quantile(values, level)) < 0.05


def normal_nats(y, loc, scale):
    return 0.5 * ((y - loc) / scale) ** 2 + math.log(scale * math.sqrt(2 * math.pi))


def student_nats(y, loc, scale, dof):
    z = (y - loc) / scale
    constant = math.lgamma(dof / 2) - math.lgamma((dof + 1) / 2) + 0.5 * math.log(dof * math.pi) + math.log(scale)
    return constant + (dof + 1) / 2 * math.log1p(z * z / dof)


def negative_binomial_nats(k, mean, shape):
    chosen = math.lgamma(k + shape) - math.lgamma(shape) - math.lgamma(k + 1)
    return -(chosen + shape * math.log(shape / (shape + mean)) + k * math.log(mean / (shape + mean)))


@pytest.mark.parametrize("name", ["normal", "student_t"])
def test_nats_are_those_of_raw_values(tf, name):
    """The log-Jacobian of the standardisation is in: location and scale are brought to raw units by hand."""
    distribution = made(tf, name)
    numbers = numbers_for(distribution, 2)
    target = numbers_of(1, 3, 2.0)[..., 0]
    found = distribution.loss(numbers, target, SERIES).numpy()
    for b, h in np.ndindex(3, 4):
        mean, std = MEAN[SERIES[b, 0]], STD[SERIES[b, 0]]
        n = numbers[b, h, 0].astype(float)
        y, loc, scale = (
            float(target[b, h, 0]) * std + mean,
            n[0] * std + mean,
            (softplus(n[1] + ONE) * n[-1] + 1e-3) * std,
        )
        want = (
            normal_nats(y, loc, scale) if name == "normal" else student_nats(y, loc, scale, 2.001 + softplus(n[2] + 2))
        )
        assert found[b, h, 0] == pytest.approx(want, rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("dof", [2.001, 3.0, 15.9, 16.1, 400.0, 1e5])
def test_student_t_is_exact_for_any_degrees_of_freedom(tf, dof):
    distribution = made(tf, "student_t")
    number = (
        math.log(math.expm1(dof - 2.001)) - 2 if 1e-2 < dof - 2.001 < 30 else dof - 2.001 - 2 if dof > 30 else -40.0
    )
    numbers = np.array([0, 0, number, 1], np.float32).reshape(1, 1, 1, 4)
    for y in (0.0, 0.5, 30.0):
        found = float(distribution.loss(numbers, np.full((1, 1, 1), y, np.float32), SERIES[:1])[0, 0, 0])
        assert found == pytest.approx(student_nats(y * 4, 0, 1.001 * 4, dof), rel=2e-5, abs=2e-5)


def test_student_t_quantiles_are_the_published_ones(tf):
    """Tables of Student's t: 2, 5, 30 degrees of freedom at .9 and .95; they stay between those of 2 degrees and the
    normal's.
    """
    distribution = made(tf, "student_t")
    for dof, high, higher in ((2.002, 1.8848, 2.9180), (5.0, 1.475884, 2.015048), (30.0, 1.310415, 1.697261)):
        number = math.log(math.expm1(dof - 2.001)) - 2
        numbers = np.array([1, 0, number, 1], np.float32).reshape(1, 1, 1, 4)
        found = (distribution.quantiles(numbers, SERIES[:1]).numpy().reshape(-1) - 1) / 1.001
        np.testing.assert_allclose(found[[5, 6]], [high, higher], rtol=3e-4)
        np.testing.assert_allclose(found, -found[::-1], atol=1e-5)


@pytest.mark.parametrize("mean, shape", [(0.01, 0.5), (3.0, 1.0), (40.0, 7.9), (40.0, 1e6), (9e4, 30.0), (2.0, 1e-3)])
def test_counts_have_exact_nats_and_finite_gradients(tf, mean, shape):
    from trainer.tasks.forecast.model.distributions import negative_binomial_nats as ours

    for count in (0, 1, 7, 8, 50, 90_000):
        at = [tf.constant(value, tf.float32) for value in (mean, shape)]
        with tf.GradientTape() as tape:
            tape.watch(at)
            found = ours(tf.constant(float(count)), *at)
        want = negative_binomial_nats(count, float(np.float32(mean)), float(np.float32(shape)))
        far = (
            2e-7 * count if count > 1e3 * mean else 0
        )  # products of count and logarithm that float32 cannot hold exactly
        assert float(found) == pytest.approx(want, rel=1e-5, abs=2e-4 + far)
        assert all(np.isfinite(gradient.numpy()) for gradient in tape.gradient(found, at))


@pytest.mark.parametrize("mean, shape", [(0.2, 0.5), (3.0, 1.0), (250.0, 4.0), (20.0, 1e4)])
def test_quantiles_of_counts_are_found_by_counting(tf, mean, shape):
    from trainer.tasks.forecast.model.distributions import negative_binomial_quantile

    total = np.cumsum([math.exp(-negative_binomial_nats(k, mean, shape)) for k in range(4000)])
    for level in (0.001, 0.05, 0.5, 0.9, 0.999):
        found = negative_binomial_quantile(
            tf.fill([1], np.float64(level)), tf.constant([mean]), tf.constant([shape])
        ).numpy()[0]
        assert found == np.searchsorted(total, level)


@pytest.mark.parametrize("mean", [1e9, 1e18, 1e30])
def test_quantiles_of_counts_beyond_all_whole_numbers(tf, mean):
    """Halving ends where neighbouring numbers are more than 1 apart. The incomplete beta function itself is only rough
    there.

    Cantelli's inequality holds for any distribution; with shape 1 the standard deviation is about the mean.
    """
    from trainer.tasks.forecast.model.distributions import negative_binomial_quantile

    levels = (0.05, 0.5, 0.9, 0.99)
    count = len(levels)
    found = negative_binomial_quantile(
        tf.constant(levels, tf.float64), tf.fill([count], mean), tf.ones([count])
    ).numpy()
    assert np.isfinite(found).all() and (np.diff(found) >= 0).all()
    for level, value in zip(levels, found):
        odds = math.sqrt(level / (1 - level))
        assert mean * (1 - 1.001 / odds) <= value <= mean * (1 + 1.001 * odds)


def test_torch_agrees(tf):
    torch = pytest.importorskip("torch")
    from torch import distributions as theirs

    numbers, target = numbers_for(made(tf, "student_t"), 4), numbers_of(1, 5)[..., 0]
    std = torch.tensor(STD[SERIES][:, None].astype(np.float32))
    n, y = torch.tensor(numbers), torch.tensor(target)
    scale = torch.nn.functional.softplus(n[..., 1] + ONE) * n[..., -1] + 1e-3
    normal = -theirs.Normal(n[..., 0], scale).log_prob(y) + std.log()
    np.testing.assert_allclose(
        made(tf, "normal").loss(numbers[..., [0, 1, 3]], target, SERIES), normal, rtol=1e-4, atol=1e-5
    )
    dof = torch.nn.functional.softplus(n[..., 2] + 2) + 2.001
    student = -theirs.StudentT(dof, n[..., 0], scale).log_prob(y) + std.log()
    np.testing.assert_allclose(made(tf, "student_t").loss(numbers, target, SERIES), student, rtol=1e-4, atol=1e-5)
    counts = made(tf, "negative_binomial")
    raw = np.random.default_rng(1).poisson(6, size=(3, 4, 1)).astype(np.float32)
    mean, shape = (torch.tensor(part.numpy()) for part in counts._mean_and_shape(numbers[..., [0, 1, 3]], SERIES))
    binomial = -theirs.NegativeBinomial(shape, logits=(mean / shape).log()).log_prob(torch.tensor(raw))
    standard = ((raw - MEAN[SERIES][:, None]) / STD[SERIES][:, None]).astype(np.float32)
    np.testing.assert_allclose(counts.loss(numbers[..., [0, 1, 3]], standard, SERIES), binomial, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["quantiles", "normal", "student_t", "negative_binomial"])
def test_draws_follow_the_quantiles_and_the_mean(tf, name):
    from trainer.tasks.forecast.model.predictor import ForecastGenerator

    distribution = made(tf, name)
    numbers = numbers_for(distribution, 6, 0.5)
    generator = ForecastGenerator(distribution)
    batch = {"past": tf.zeros([3, 2, 1]), "future_features": tf.zeros([3, 4, 0]), "series": tf.constant(SERIES)}

    def draw(seed):
        return generator.draw(
            lambda _: tf.constant(numbers), batch, tf.constant(20_000), tf.constant(seed, tf.int64)
        ).numpy()

    drawn = draw(3)
    assert drawn.shape == (20_000, 3, 4, 1)
    below = (drawn[..., None] <= distribution.quantiles(numbers, SERIES).numpy() + 1e-6).mean(0)
    if name == "negative_binomial":  # steps: the share up to a quantile may be above its level
        assert (below > np.asarray(LEVELS) - 0.02).all()
        raw = drawn * STD[SERIES][None, :, None] + MEAN[SERIES][None, :, None]
        assert raw.min() > -1e-3 and np.abs(raw - raw.round()).max() < 1e-3
    else:
        np.testing.assert_allclose(below, np.broadcast_to(LEVELS, below.shape), atol=0.02)
    if name != "quantiles":  # whose mean is a sum over seven levels
        np.testing.assert_allclose(drawn.mean(0), np.asarray(distribution.mean(numbers, SERIES)), atol=0.06)
    assert (drawn == draw(3)).all() and not (drawn == draw(4)).all()


def test_values_at_scores_are_student_t_into_the_tails(tf):
    """Closed forms of the quantile with 2 and 4 degrees of freedom; the distribution of 7 integrated step by step."""
    from trainer.tasks.forecast.model.distributions import student_t_at

    scores = np.array([-6.0, -4.5, -3.3, -2.0, -0.31, -1e-3, 1e-3, 0.31, 2.0, 3.3, 4.5, 6.0])
    tail = np.array([0.5 * math.erfc(abs(score) / math.sqrt(2)) for score in scores])
    two = (1 - 2 * tail) / np.sqrt(2 * tail * (1 - tail))
    root = np.sqrt(4 * tail * (1 - tail))
    four = 2 * np.sqrt(np.cos(np.arccos(root) / 3) / root - 1)
    for dof, want in ((2.0, two), (4.0, four)):
        found = student_t_at(tf.constant(scores, tf.float32), tf.constant(dof)).numpy()
        np.testing.assert_allclose(found, np.sign(scores) * want, rtol=1e-3)
    t = np.linspace(-400, 400, 4_000_001)
    density = np.exp([-student_nats(0.0, 0.0, 1.0, 7.0)])[0] * (1 + t**2 / 7) ** -4
    total = np.cumsum(density) * (t[1] - t[0])
    for score in (-3.3, -2.0, 0.31, 2.0, 3.3):
        found = float(student_t_at(tf.constant(score), tf.constant(7.0)))
        assert np.interp(found, t, total) == pytest.approx(0.5 * math.erfc(-score / math.sqrt(2)), rel=2e-3)


def test_scores_of_values_lead_back_to_them(tf):
    from trainer.tasks.forecast.model.distributions import scores_of, values_at

    quantiles = np.sort(numbers_of(len(LEVELS), 8), axis=-1)
    scores = np.random.default_rng(9).normal(size=(50, 3, 4, 1)).astype(np.float32) * 2
    values = values_at(tf.constant(quantiles), LEVELS, tf.constant(scores))
    np.testing.assert_allclose(scores_of(tf.constant(quantiles), LEVELS, values), scores, rtol=1e-3, atol=1e-3)
    ties = tf.constant([[[[0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]]]])
    found = scores_of(ties, LEVELS, tf.reshape(tf.constant([0.0, 1.0, 2.0, -1.0]), [4, 1, 1, 1])).numpy().reshape(-1)
    at = {level: NormalDist().inv_cdf(level) for level in LEVELS}
    middles = [(at[0.05] + at[0.3]) / 2, (at[0.5] + at[0.7]) / 2, (at[0.9] + at[0.95]) / 2, at[0.05]]
    np.testing.assert_allclose(found, middles, atol=1e-5)


def test_scales_stay_off_zero_and_nats_finite_where_numbers_are_extreme(tf):
    for name in ("normal", "student_t", "negative_binomial"):
        distribution = made(tf, name)
        for value in (-200.0, 200.0):
            numbers = tf.Variable(np.full((1, 1, 1, distribution.size + 1), value, np.float32))
            numbers[..., -1].assign(tf.ones([1, 1, 1]))
            with tf.GradientTape() as tape:
                loss = distribution.loss(numbers, np.ones((1, 1, 1), np.float32), SERIES[:1])
            assert np.isfinite(loss.numpy()).all() and np.isfinite(tape.gradient(loss, numbers).numpy()).all(), (
                name,
                value,
            )

"""The copula of the steps: correlations that are found again, distributions that stay, gaps, too few windows."""

import numpy as np
import pytest


def correlation_of(steps, share):
    return share ** np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_correlation_is_found_again_whatever_the_margins(tf, missing):
    """Normal scores of correlation .8^lag, bent by a function of each step: ranks do not see it."""
    from trainer.tasks.forecast.model.copula import dependence_of

    random, want = np.random.default_rng(0), correlation_of(5, 0.8)
    scores = random.normal(size=(20_000, 5)) @ np.linalg.cholesky(want).T
    bent = np.sign(scores) * np.abs(scores) ** np.array([0.3, 1, 2, 3, 5]) * np.array([1, 10, 0.1, 1, 4]) + np.arange(5)
    bent[random.random(bent.shape) < missing] = np.nan
    copula = dependence_of(bent)
    np.testing.assert_allclose(copula.factor @ copula.factor.T, want, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(copula.factor, axis=1), 1)
    drawn = copula.correlated(tf.random.stateless_normal([50_000, 1, 5, 2], [1, 2])).numpy()[:, 0]
    assert drawn.shape == (50_000, 5, 2)
    both = np.corrcoef(np.concatenate([drawn[..., 0], drawn[..., 1]], axis=1).T)
    np.testing.assert_allclose(both[:5, :5], want, atol=0.03)
    np.testing.assert_allclose(both[:5, 5:], 0, atol=0.03)  # channels are drawn by themselves
    np.testing.assert_allclose(drawn.std(axis=0), 1, atol=0.02)


def test_few_windows_and_constant_steps_leave_distributions_as_they_are(tf):
    from trainer.tasks.forecast.model.copula import dependence_of

    random = np.random.default_rng(1)
    few = random.normal(size=(3, 8))
    gone = np.full((6, 8), np.nan)
    tied = np.zeros((6, 8))
    for scores in (few, gone, tied):
        factor = dependence_of(scores).factor
        assert np.isfinite(factor).all()
        np.testing.assert_allclose(np.linalg.norm(factor, axis=1), 1)
    for scores in (gone, tied):  # nothing is known of how the steps go together
        factor = dependence_of(scores).factor
        np.testing.assert_allclose(factor @ factor.T, np.eye(8), atol=1e-9)


def test_equal_values_share_their_ranks(tf):
    from statistics import NormalDist

    from trainer.tasks.forecast.model.copula import _normal_ranks

    found = _normal_ranks(np.array([3.0, 1.0, np.nan, 3.0, 2.0]))
    want = [NormalDist().inv_cdf(level) for level in (0.75, 0.125, 0.75, 0.375)]
    np.testing.assert_allclose(found[[0, 1, 3, 4]], want)
    assert np.isnan(found[2])


def test_the_fit_reads_scores_out_of_forecasts(tf):
    """Windows whose errors repeat from step to step, in forecasts of other places and widths each."""
    from trainer.tasks.forecast.evaluation.copula_fit import fitted_copula
    from trainer.tasks.forecast.evaluation.scoring import Prediction
    from trainer.tasks.forecast.model.quantile_levels import normal_scores

    levels, random = (0.1, 0.5, 0.9), np.random.default_rng(2)
    answers, batches, want = [], [], correlation_of(4, 0.6)
    for _ in range(10):
        place, width = random.normal(size=(64, 4, 2)), np.exp(random.normal(size=(64, 4, 2)))
        quantiles = (place[..., None] + width[..., None] * normal_scores(levels)).astype(np.float32)
        scores = np.moveaxis(random.normal(size=(64, 2, 4)) @ np.linalg.cholesky(want).T, 1, 2)
        weight = (random.random((64, 4, 2)) > 0.1).astype(np.float32)
        target = np.where(weight > 0, place + width * scores, 1e9).astype(np.float32)
        answers.append(Prediction(quantiles[..., 1], quantiles[..., 1], quantiles, levels))
        batches.append({"target": tf.constant(target), "target_weight": tf.constant(weight)})
    given = iter(answers)
    copula = fitted_copula(lambda batch: next(given), batches, 640)
    np.testing.assert_allclose(copula.factor @ copula.factor.T, want, atol=0.09)

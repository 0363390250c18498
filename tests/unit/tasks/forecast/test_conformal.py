"""Conformal calibration: coverage on exchangeable data, ranks by sorting, intervals that stay nested."""

import math

import numpy as np
import pytest

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95, 0.99)


def prediction(random, size, spread):
    """Quantiles of normal distributions of different scales, and values whose scales are `spread` times those."""
    from trainer.tasks.forecast.evaluation.scoring import Prediction
    from trainer.tasks.forecast.model.quantile_levels import normal_scores

    scale = np.exp(random.normal(size=(size, 2, 3))).astype(np.float32)
    quantiles = (scale[..., None] * normal_scores(LEVELS)).astype(np.float32)
    target = (spread * scale * random.normal(size=scale.shape)).astype(np.float32)
    return Prediction(quantiles[..., 2], quantiles[..., 2], quantiles, LEVELS), target


@pytest.mark.parametrize("spread", [0.4, 1.0, 2.5])
def test_intervals_cover_what_they_promise(tf, spread):
    """Far too narrow, right and far too wide forecasts, calibrated on some windows, cover 80% and 90% of others."""
    from trainer.tasks.forecast.evaluation.conformal_fit import scored_windows
    from trainer.tasks.forecast.model.conformal import Conformal

    random = np.random.default_rng(0)
    made = [prediction(random, 500, spread) for _ in range(4)]
    batches = []
    for _, target in made:
        weight = (random.random(target.shape) > 0.2).astype(np.float32)
        batches.append({"target": tf.constant(np.where(weight > 0, target, 1e9)), "target_weight": tf.constant(weight)})
    answers = iter(made)
    scored = scored_windows(lambda batch: next(answers)[0], batches, LEVELS, np.arange(1990))
    assert scored.scores.shape == (1990, 2, 3, 2)  # the last ten only fill the batch up
    conformal = Conformal(LEVELS, scored.growth(LEVELS))
    assert conformal.growth.shape == (2, 2)
    fresh, target = prediction(random, 4000, spread)
    found = conformal.apply(tf.constant(fresh.quantiles)).numpy()
    assert (np.diff(found, axis=-1) >= 0).all()
    np.testing.assert_array_equal(found[..., 2], fresh.quantiles[..., 2])
    for low, high, wanted in ((0, 4, 0.9), (1, 3, 0.8)):
        covered = (target >= found[..., low]) & (target <= found[..., high])
        assert np.abs(covered.mean(axis=(0, 2)) - wanted).max() < 0.02, spread


def test_the_rank_is_that_of_the_next_score():
    from trainer.tasks.forecast.model.conformal import conformal_quantile

    scores = np.random.default_rng(1).normal(size=19)
    for probability in (0.05, 0.5, 0.8, 0.9, 0.95):
        assert conformal_quantile(scores, probability) == sorted(scores)[math.ceil(20 * probability - 1e-9) - 1]
    assert conformal_quantile(scores, 0.99) == scores.max() and conformal_quantile(scores[:0], 0.9) == 0


def test_scores_tell_how_far_outside():
    from trainer.tasks.forecast.model.conformal import conformal_scores

    quantiles = np.array([0, 1, 2, 3, 4, 9.0])
    target = np.array([2.0, 6.0, 0.5])
    found = conformal_scores(np.broadcast_to(quantiles, (3, 6)), target, LEVELS)
    np.testing.assert_allclose(found, [[-0.5, -0.5], [0.5, 1.5], [-0.125, 0.25]])


def test_recent_calibration_looks_at_windows_that_are_over_and_at_no_others():
    """Against a loop: the growth of a window is that of all windows of the last seven seasons that end before it
    begins.
    """
    from trainer.tasks.forecast.data.series_slices import SeriesSlice, window_starts
    from trainer.tasks.forecast.evaluation.conformal_fit import RecentConformal, ScoredWindows, window_moments
    from trainer.tasks.forecast.evaluation.scoring import Prediction
    from trainer.tasks.forecast.model.conformal import conformal_quantile

    lookback, horizon, season, levels = 2, 3, 2, (0.1, 0.5, 0.9)
    random = np.random.default_rng(2)
    times = 1000 + 60 * np.arange(60)
    segments = [
        SeriesSlice(np.zeros((60, 1), np.float32), np.ones((60, 1), bool), 10, 60, (index,), times)
        for index in range(2)
    ]
    begins, ends = window_moments(segments, lookback, horizon)
    targets = [target for segment in segments for target in window_starts(segment, lookback, horizon)]
    assert begins.tolist() == [times[target] for target in targets] and (ends - begins == 120).all()
    scores = random.normal(size=(len(ends), horizon, 1, 1)).astype(np.float32)
    recent = RecentConformal(ScoredWindows(ends, scores), begins, levels, season)
    quantiles = np.broadcast_to(np.array([-1, 0, 1], np.float32), (len(ends), horizon, 1, 3))
    found = np.concatenate(
        [
            recent.adjust(
                np.arange(first, first + 16),
                Prediction(quantiles[:16, ..., 1], quantiles[:16, ..., 1], quantiles[:16], levels),
            ).quantiles
            for first in range(0, 96, 16)
        ]
    )[: len(ends)]
    for number, target in enumerate(targets):
        renewed = 10 + (target - 10) // season * season
        known = [other + horizon - 1 for other in range(10, 58) if other + horizon - 1 < renewed][-7 * season :]
        for step in range(horizon):
            own = np.array([scores[n, step, 0, 0] for n, other in enumerate(targets) if other + horizon - 1 in known])
            growth = 2 * conformal_quantile(own, 0.8)  # the width is 2
            high = max(0.0, 1 + growth)  # never across the median
            np.testing.assert_allclose(found[number, step, 0], [-high, 0, high], rtol=1e-5)

"""Scores of sample paths against brute force, and against the closed form of the normal distribution."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.tasks.forecast.evaluation.path_metrics import PathMetrics, fair_crps
from trainer.tasks.forecast.evaluation.quantile_metrics import QuantileMetrics
from trainer.tasks.forecast.model.quantile_levels import normal_scores

NORMAL = NormalDist()


def brute(samples, target):
    """The definition, over all pairs of different paths."""
    count = len(samples)
    spread = sum(abs(a - b) for i, a in enumerate(samples) for j, b in enumerate(samples) if i != j)
    return np.mean([abs(x - target) for x in samples]) - (spread / (2 * count * (count - 1)) if count > 1 else 0.0)


def closed_form(target, deviation=1.0):
    """Gneiting and Raftery 2007, equation 21."""
    z = target / deviation
    return deviation * (z * (2 * NORMAL.cdf(z) - 1) + 2 * NORMAL.pdf(z) - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_estimate_is_the_mean_over_pairs(count):
    random = np.random.default_rng(count)
    samples, target = random.normal(size=(count, 3, 4)).round(1), random.normal(size=(3, 4))
    found = fair_crps(samples, target)
    for place in np.ndindex(3, 4):
        assert found[place] == pytest.approx(brute(samples[:, place[0], place[1]], target[place]))


@pytest.mark.parametrize("count", [2, 5, 50])
def test_few_paths_give_no_bias(count):
    """The mean over many draws is the score of the distribution itself, however few paths there are; so it is from many
    quantiles.
    """
    random = np.random.default_rng(3)
    samples, target = random.normal(size=(count, 400_000 // count, 1)), np.array([0.7])
    found = fair_crps(samples, np.broadcast_to(target, samples.shape[1:]))
    assert found.mean() == pytest.approx(closed_form(0.7), abs=4 * found.std() / math.sqrt(found.size))
    levels = np.linspace(0.005, 0.995, 199)
    metrics = QuantileMetrics(levels, 1, np.zeros(1), np.ones(1), ["a"])
    metrics.add(
        normal_scores(levels)[None, None, None], target[None, None], np.ones((1, 1, 1), bool), np.zeros((1, 1), int)
    )
    assert metrics.results()["crps"] == pytest.approx(closed_form(0.7), rel=2e-3)


def made(paths=40, seed=0):
    random = np.random.default_rng(seed)
    for size in (5, 3):
        target = random.normal(size=(size, 4, 2))
        observed = random.random((size, 4, 2)) > 0.15
        target[~observed] = np.nan
        yield random.normal(size=(paths, size, 4, 2)), target, observed


def test_batches_are_scored_as_by_loops(monkeypatch):
    from trainer.tasks.forecast.evaluation import path_metrics

    monkeypatch.setattr(path_metrics, "_AT_ONCE", 700)  # two windows at a time
    metrics, values, sums, inside = PathMetrics(), [], [], []
    for paths, target, observed in made():
        metrics.add(paths, target, observed)
        for b, c in np.ndindex(len(target), 2):
            values += [brute(paths[:, b, h, c], target[b, h, c]) for h in range(4) if observed[b, h, c]]
            if observed[b, :, c].all():
                drawn, total = np.sort(paths[:, b, :, c].sum(axis=1)), target[b, :, c].sum()
                sums.append(brute(drawn, total))
                inside.append(drawn[3] <= total <= drawn[36])  # 4 of the 41 gaps on either side
    found = metrics.results()
    assert 3 < len(sums) < 16
    assert found == pytest.approx(
        {"crps_paths": np.mean(values), "crps_sum": np.mean(sums), "coverage_80_sum": 100 * np.mean(inside)}
    )
    json.dumps(found, allow_nan=False)


def test_sums_tell_paths_that_hang_together_from_independent_steps():
    """Steps of correlation .9: single values score alike, sums far better with it; closed forms of both."""
    steps, windows, paths = 12, 3000, 60
    correlation = 0.9 ** np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    factor = np.linalg.cholesky(correlation)
    random = np.random.default_rng(1)
    target = random.normal(size=(windows, steps)) @ factor.T
    independent = random.normal(size=(paths, windows, steps))
    found = []
    for drawn in (independent @ factor.T, independent):
        metrics = PathMetrics()
        metrics.add(drawn[..., None], target[..., None], np.ones((windows, steps, 1), bool))
        found.append(metrics.results())
    together, apart = found
    assert (
        together["crps_paths"] == pytest.approx(apart["crps_paths"], rel=0.02) and 78 < together["coverage_80_sum"] < 82
    )
    spread = math.sqrt(correlation.sum())
    assert together["crps_sum"] == pytest.approx(
        spread / math.sqrt(math.pi), rel=0.03
    )  # of a forecast that is the truth
    wrong = np.mean([closed_form(y, math.sqrt(steps)) for y in target.sum(axis=1)])
    assert apart["crps_sum"] == pytest.approx(wrong, rel=0.02) and wrong > 1.1 * spread / math.sqrt(math.pi)
    assert apart["coverage_80_sum"] < 50


def test_what_is_not_there_is_none_and_what_is_no_number_an_error():
    assert PathMetrics().results() == {"crps_paths": None, "crps_sum": None, "coverage_80_sum": None}
    metrics = PathMetrics()
    metrics.add(np.ones((1, 1, 2, 1)), np.zeros((1, 2, 1)), np.ones((1, 2, 1), bool))
    assert metrics.results() == {"crps_paths": 1.0, "crps_sum": 2.0, "coverage_80_sum": None}  # a point forecast
    with pytest.raises(TrainerError, match="NaN"):
        metrics.add(np.full((1, 1, 2, 1), np.nan), np.zeros((1, 2, 1)), np.zeros((1, 2, 1), bool))

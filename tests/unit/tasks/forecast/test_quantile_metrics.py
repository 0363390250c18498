"""Scores of quantiles against plain loops, and against the closed form of the normal distribution."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.tasks.forecast.evaluation.quantile_metrics import QuantileMetrics
from trainer.tasks.forecast.model.quantile_levels import cell_weights, normal_scores, pairs

LEVELS = (0.1, 0.25, 0.5, 0.9)
MEAN, STD, NAMES = np.array([10.0, -3.0, 0.0]), np.array([2.0, 0.5, 1.0]), ["a", "b", "c"]
HORIZON = 3


def batches(seed=0):
    random = np.random.default_rng(seed)
    for size in (4, 7):
        shape = (size, HORIZON, 2)
        target = random.normal(size=shape)
        observed = random.random(shape) > 0.3
        target[~observed] = np.nan
        yield np.sort(random.normal(size=(*shape, 4)), axis=-1), target, observed, random.integers(0, 2, (size, 2))


def accumulated():
    metrics = QuantileMetrics(LEVELS, HORIZON, MEAN, STD, NAMES)
    for batch in batches():
        metrics.add(*batch)
    return metrics.results()


def reference(keep=lambda series, step: True):
    """Everything by loops over raw values."""
    loss, crps, size, inside, count = 0.0, 0.0, 0.0, 0, 0
    weights = (0.175, 0.2, 0.325, 0.3)
    for quantiles, target, observed, series in batches():
        for b, h, c in np.ndindex(target.shape):
            s = series[b, c]
            if not observed[b, h, c] or not keep(s, h):
                continue
            y = target[b, h, c] * STD[s] + MEAN[s]
            q = quantiles[b, h, c] * STD[s] + MEAN[s]
            pinball = [2 * (a * (y - x) if y > x else (1 - a) * (x - y)) for a, x in zip(LEVELS, q)]
            loss += sum(pinball) / 4
            crps += sum(w * p for w, p in zip(weights, pinball)) / STD[s]
            size += abs(y)
            inside += q[0] <= y <= q[3]
            count += 1
    return {"weighted_quantile_loss": loss / size, "crps": crps / count, "coverage_80": 100 * inside / count}


def test_scores_are_those_of_loops():
    found = accumulated()
    for name, value in reference().items():
        assert found[name] == pytest.approx(value)
    for step in range(HORIZON):
        for name, value in reference(lambda s, h, step=step: h == step).items():
            assert found["quantiles_per_step"][name][step] == pytest.approx(value)
    for index in range(2):
        for name, value in reference(lambda s, h, index=index: s == index).items():
            assert found["quantiles_per_series"][index][name] == pytest.approx(value)
    assert found["quantiles_per_series"][2]["coverage_80"] is None  # never seen
    assert [interval["probability"] for interval in found["intervals"]] == pytest.approx([0.8])
    assert found["intervals"][0]["coverage"] == pytest.approx(found["coverage_80"] / 100)
    json.dumps(found, allow_nan=False)


def test_crps_is_that_of_a_normal_distribution():
    """Closed form: Gneiting and Raftery 2007, equation 21."""
    levels = np.linspace(0.005, 0.995, 199)
    targets = np.linspace(-3, 3, 13)
    quantiles = np.broadcast_to(normal_scores(levels), (13, 1, 1, 199))
    metrics = QuantileMetrics(levels, 1, np.zeros(1), np.ones(1), ["a"])
    metrics.add(quantiles, targets[:, None, None], np.ones((13, 1, 1), bool), np.zeros((13, 1), int))
    normal = NormalDist()
    want = np.mean([y * (2 * normal.cdf(y) - 1) + 2 * normal.pdf(y) - 1 / math.sqrt(math.pi) for y in targets])
    assert metrics.results()["crps"] == pytest.approx(want, rel=2e-3)


def test_a_point_forecast_has_its_absolute_error():
    levels = (0.1, 0.5, 0.9)
    random = np.random.default_rng(1)
    point, target = random.normal(size=(2, 5, HORIZON, 1))
    metrics = QuantileMetrics(levels, HORIZON, np.zeros(1), np.ones(1), ["a"])
    metrics.add(np.repeat(point[..., None], 3, axis=-1), target, np.ones(target.shape, bool), np.zeros((5, 1), int))
    found = metrics.results()
    assert found["crps"] == pytest.approx(np.abs(point - target).mean())
    assert found["weighted_quantile_loss"] == pytest.approx(np.abs(point - target).sum() / np.abs(target).sum())


def test_what_is_no_quantile_is_an_error():
    quantiles, target, observed, series = next(batches())
    metrics = QuantileMetrics(LEVELS, HORIZON, MEAN, STD, NAMES)
    with pytest.raises(TrainerError, match="cross"):
        metrics.add(quantiles[..., ::-1], target, observed, series)
    quantiles[0, 0, 0, 1] = np.nan
    with pytest.raises(TrainerError, match="NaN"):
        metrics.add(quantiles, target, observed, series)


def test_levels():
    assert pairs((0.05, 0.1, 0.5, 0.9, 0.99)) == [(1, 3)]
    assert pairs((0.05, 0.1, 0.5, 0.9, 0.95)) == [(0, 4), (1, 3)]
    np.testing.assert_allclose(cell_weights((0.1, 0.5, 0.9)), [0.3, 0.4, 0.3])
    np.testing.assert_allclose(normal_scores((0.025, 0.5, 0.8413447)), [-1.959964, 0, 1], atol=1e-6)

"""The weighted mean of two forecasts, against a search over weights."""

import numpy as np
import pytest


@pytest.mark.parametrize(("quality", "expected"), [(0.5, None), (3.0, 0.0), (0.0, 1.0)])
def test_the_weight_has_the_least_error(tf, quality, expected):
    """`quality` is the size of the network's errors, beside regression errors of size 1 that they share a part with."""
    from trainer.tasks.forecast.model.blend import best_share, share_sums, weighted_mse

    random = np.random.default_rng(5)
    shape = (40, 6, 2)
    shared, own, other, target = random.normal(size=(4, *shape))
    network, regression = target + quality * (0.5 * shared + own), target + shared + 0.1 * other
    weight = (random.random(shape) < 0.7).astype(float)  # the others have no target
    network, regression = (np.where(weight > 0, part, 99.0) for part in (network, regression))
    sums = share_sums(tf.constant(network), tf.constant(regression), tf.constant(target), tf.constant(weight))
    means = {name: float(total) / float(count) for name, (total, count) in sums.items()}

    def error(share):
        return float((weight * (share * network + (1 - share) * regression - target) ** 2).sum() / weight.sum())

    found, least = best_share(means), min(np.linspace(0, 1, 1001), key=error)
    assert found == pytest.approx(least, abs=0.0006)
    assert weighted_mse(means, found) == pytest.approx(error(found), rel=1e-9)
    assert (0.1 < found < 0.95) if expected is None else (found == expected)


def test_two_equal_forecasts_need_no_weight():
    from trainer.tasks.forecast.model.blend import best_share

    assert best_share({"network_mse": 0.7, "regression_mse": 0.7, "errors_product": 0.7}) == 1.0

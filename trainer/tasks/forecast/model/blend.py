"""The weighted mean of two forecasts: which weight has the least squared error.

The errors of both and their product, each a mean over all targets, say what the error is of every weighted mean (Bates
and Granger 1969, "The combination of forecasts").
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

NETWORK, REGRESSION, PRODUCT = "network_mse", "regression_mse", "errors_product"


def share_sums(
    network: tf.Tensor, regression: tf.Tensor, target: tf.Tensor, weight: tf.Tensor
) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """The sums that `best_share` needs, over `[B, H, C]` and the weights to divide them by."""
    one, other, total = network - target, regression - target, tf.reduce_sum(weight)
    products = {NETWORK: one * one, REGRESSION: other * other, PRODUCT: one * other}
    return {name: (tf.reduce_sum(product * weight), total) for name, product in products.items()}


def best_share(means: Mapping[str, float]) -> float:
    """The weight in [0, 1] of the network whose forecast has the least error; 1 where both forecast the same."""
    difference = means[NETWORK] + means[REGRESSION] - 2 * means[PRODUCT]  # mean squared, of one forecast from the other
    if not difference > 0:
        return 1.0
    return min(max((means[REGRESSION] - means[PRODUCT]) / difference, 0.0), 1.0)


def weighted_mse(means: Mapping[str, float], share: float) -> float:
    """The mean squared error of `share * network + (1 - share) * regression`."""
    return share**2 * means[NETWORK] + (1 - share) ** 2 * means[REGRESSION] + 2 * share * (1 - share) * means[PRODUCT]

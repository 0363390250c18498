"""The meaning of a forecaster's numbers: quantiles, or the parameters of a distribution, with the loss that fits and a
way to draw.

Legend: B windows, H horizon steps, C channels, P numbers of each value to forecast, Q levels, N draws, S series of the
dataset. All values are standardised by series (raw = standardised * std + mean). The first of the P numbers says where
the value is, in these units, so it moves with the window: the forecaster's reversible standardisation adds to it alone.
The others are free. Behind the P numbers stands the window's unit, in which widths are measured: how much neighbouring
steps of its lookback differ. So restless windows get wide forecasts before the network has learnt anything.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.tasks.forecast.model.quantile_levels import MEDIAN, cell_weights, normal_scores

SMALLEST_SCALE = (
    1e-3  # in units of a series' standard deviation: where values repeat, a likelihood would grow without end
)
LEAST_DOF = 2.0  # degrees of freedom above this have a variance
SOFTPLUS_ONE = math.log(math.e - 1)  # softplus of this is 1
_STIRLING_FROM = 8.0
_TABLE_STEPS = 64
_LARGEST_SCORE = 6.5


class Distribution(abc.ABC):
    """One kind of probabilistic forecast; `numbers` below is `[B, H, C, P + 1]` float32, `series` `[B, C]` int32."""

    size: int  # P

    def __init__(self, levels: Sequence[float], mean: np.ndarray, std: np.ndarray):
        """Takes the levels of `quantiles`, and mean and standard deviation of each series, `[S]` in raw units."""
        self.levels = tuple(levels)
        self._mean, self._std = np.asarray(mean, np.float32), np.asarray(std, np.float32)

    @abc.abstractmethod
    def loss(self, numbers: tf.Tensor, target: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        """The loss that training minimises, of each value: `[B, H, C]`. A likelihood is one of raw values, in nats."""

    @abc.abstractmethod
    def mean(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        """`[B, H, C]`."""

    @abc.abstractmethod
    def quantiles(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        """`[B, H, C, Q]`, not falling along Q."""

    @abc.abstractmethod
    def at_scores(self, numbers: tf.Tensor, series: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """The values at normal scores, the quantiles at the levels `Phi(score)`: `[..., B, H, C]`, as the scores are.

        Where the scores are standard normal, the values follow the forecast; where they hang together over the horizon,
        paths do.
        """

    def _of_series(self, values: np.ndarray, series: tf.Tensor) -> tf.Tensor:
        """[S] -> [B, 1, C]."""
        return tf.gather(tf.constant(values), series)[:, None]


class Quantiles(Distribution):
    """The quantiles themselves: the median, and steps from one level to the next that are above 0, so that none cross.

    Increments are made positive as in incremental quantile functions (Park et al., AISTATS 2022), each in units of the
    same increment of the standard normal distribution, so that all of them are of one size. The loss is twice the mean
    pinball loss over the levels (Koenker and Bassett 1978), which is the absolute error where the median is the only
    level.
    """

    def __init__(self, levels: Sequence[float], mean: np.ndarray, std: np.ndarray):
        super().__init__(levels, mean, std)
        self.size = len(self.levels)
        self._middle = self.levels.index(MEDIAN)
        self._gaps = np.diff(normal_scores(levels)).astype(np.float32)

    def loss(self, numbers: tf.Tensor, target: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        return quantile_loss(self.quantiles(numbers, series), target, self.levels)

    def mean(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        """The integral over the levels, where every level stands for those nearest to it."""
        return tf.reduce_sum(self.quantiles(numbers, series) * cell_weights(self.levels).astype(np.float32), axis=-1)

    def quantiles(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        median, middle = numbers[..., :1], self._middle
        steps = self._gaps * tf.nn.softplus(numbers[..., 1:-1] + SOFTPLUS_ONE) * numbers[..., -1:]
        below = median - tf.cumsum(steps[..., :middle], axis=-1, reverse=True)
        above = median + tf.cumsum(steps[..., middle:], axis=-1)
        return tf.concat([below, median, above], axis=-1)

    def at_scores(self, numbers: tf.Tensor, series: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        return values_at(self.quantiles(numbers, series), self.levels, scores)


class Normal(Distribution):
    """Numbers: location and scale."""

    size = 2

    def loss(self, numbers: tf.Tensor, target: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        scale = _scale(numbers)
        z = (target - numbers[..., 0]) / scale
        return (
            0.5 * tf.square(z) + tf.math.log(scale * self._of_series(self._std, series)) + 0.5 * math.log(2 * math.pi)
        )

    def mean(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        return numbers[..., 0]

    def quantiles(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        return numbers[..., :1] + _scale(numbers)[..., None] * normal_scores(self.levels).astype(np.float32)

    def at_scores(self, numbers: tf.Tensor, series: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        return numbers[..., 0] + _scale(numbers) * scores


class StudentT(Distribution):
    """Numbers: location, scale, and what the degrees of freedom come from, which stay above `LEAST_DOF`."""

    size = 3

    def loss(self, numbers: tf.Tensor, target: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        scale, dof = _scale(numbers), _dof(numbers[..., 2])
        z, half = (target - numbers[..., 0]) / scale, dof / 2
        # log Gamma(half) - log Gamma(half + 1/2) without their size: the two are nearly equal where dof is large
        gammas = (
            0.5
            - 0.5 * tf.math.log(half)
            - half * tf.math.log1p(0.5 / half)
            + stirling_rest(half)
            - stirling_rest(half + 0.5)
        )
        constant = gammas + 0.5 * tf.math.log(math.pi * dof) + tf.math.log(scale * self._of_series(self._std, series))
        return constant + (half + 0.5) * tf.math.log1p(tf.square(z) / dof)

    def mean(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        return numbers[..., 0]

    def quantiles(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        scores = normal_scores(self.levels).astype(np.float32)
        return tf.stack(
            [self.at_scores(numbers, series, tf.fill(tf.shape(numbers)[:-1], score)) for score in scores], axis=-1
        )

    def at_scores(self, numbers: tf.Tensor, series: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        return numbers[..., 0] + _scale(numbers) * student_t_at(scores, _dof(numbers[..., 2]))


class NegativeBinomial(Distribution):
    """Counts. Numbers: what the mean comes from, in standardised units, and what the dispersion comes from.

    The mean is `std * softplus(number + mean / std)`: the forecast itself where that is well above 0, and never below
    0. The dispersion, (variance - mean) / mean^2, starts at that of the whole series. So both go by the scale of the
    series, as in DeepAR (Salinas et al. 2020), and the window's unit has no say.
    """

    size = 2

    def __init__(self, levels: Sequence[float], mean: np.ndarray, std: np.ndarray):
        super().__init__(levels, mean, std)
        usual = np.maximum(mean, 1e-3)
        self._dispersion = np.clip((np.square(std) - usual) / usual**2, 1e-3, 1e3).astype(np.float32)

    def loss(self, numbers: tf.Tensor, target: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        mean, shape = self._mean_and_shape(numbers, series)
        count = tf.round(target * self._of_series(self._std, series) + self._of_series(self._mean, series))
        count = tf.maximum(count, 0.0)  # where a value is missing, it is the mean that stands there
        return negative_binomial_nats(count, mean, shape)

    def mean(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        return self._standardised(self._mean_and_shape(numbers, series)[0], series)

    def quantiles(self, numbers: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        mean, shape = self._mean_and_shape(numbers, series)
        counts = [
            negative_binomial_quantile(tf.fill(tf.shape(mean), np.float64(level)), mean, shape) for level in self.levels
        ]
        return tf.stack([self._standardised(count, series) for count in counts], axis=-1)

    def at_scores(self, numbers: tf.Tensor, series: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        mean, shape = (tf.broadcast_to(part, tf.shape(scores)) for part in self._mean_and_shape(numbers, series))
        level = 0.5 * tf.math.erfc(-tf.cast(scores, tf.float64) / math.sqrt(2))
        return self._standardised(negative_binomial_quantile(level, mean, shape), series)

    def _mean_and_shape(self, numbers: tf.Tensor, series: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean count, and the shape `r` that gives the variance `mean + mean^2 / r`."""
        mean, std = self._of_series(self._mean, series), self._of_series(self._std, series)
        dispersion = self._of_series(self._dispersion, series) * (tf.nn.softplus(numbers[..., 1] + SOFTPLUS_ONE) + 1e-4)
        return std * (tf.nn.softplus(numbers[..., 0] + mean / std) + 1e-5), 1 / dispersion

    def _standardised(self, counts: tf.Tensor, series: tf.Tensor) -> tf.Tensor:
        return (counts - self._of_series(self._mean, series)) / self._of_series(self._std, series)


DISTRIBUTIONS: dict[str, type[Distribution]] = {
    "quantiles": Quantiles,
    "normal": Normal,
    "student_t": StudentT,
    "negative_binomial": NegativeBinomial,
}


def quantile_loss(quantiles: tf.Tensor, target: tf.Tensor, levels: Sequence[float]) -> tf.Tensor:
    """Twice the pinball loss, mean over the levels: `[B, H, C, Q]` and `[B, H, C]` -> `[B, H, C]`."""
    error = target[..., None] - quantiles
    level = np.asarray(levels, np.float32)
    return 2 * tf.reduce_mean(tf.maximum(level * error, (level - 1) * error), axis=-1)


def values_at(quantiles: tf.Tensor, levels: Sequence[float], scores: tf.Tensor) -> tf.Tensor:
    """Values at normal `scores [..., B, H, C]` of a distribution with these quantiles `[B, H, C, Q]`: `[..., B, H, C]`.

    Between two levels the value is linear in the score, and beyond the outermost ones it goes on so: the tails are
    those of a normal distribution, and a normal distribution is met exactly.
    """
    at = normal_scores(levels).astype(np.float32)
    values = quantiles[..., 0] + tf.zeros_like(scores)
    last = len(at) - 2
    for index in range(last + 1):
        slope = (quantiles[..., index + 1] - quantiles[..., index]) / (at[index + 1] - at[index])
        low, high = (-np.inf if index == 0 else at[index]), (np.inf if index == last else at[index + 1])
        values += slope * (tf.clip_by_value(scores, low, high) - at[index])
    return values


def scores_of(quantiles: tf.Tensor, levels: Sequence[float], values: tf.Tensor) -> tf.Tensor:
    """The scores for which `values_at` gave `values [..., B, H, C]`; of a value that several levels share, the
    middle of them.
    """
    at = normal_scores(levels).astype(np.float32)
    scores = at[0] + tf.zeros_like(values)
    last = len(at) - 2
    for index in range(last + 1):
        above, width = values - quantiles[..., index], quantiles[..., index + 1] - quantiles[..., index]
        share = above / tf.where(width > 0, width, 1.0)
        low, high = (-np.inf if index == 0 else 0.0), (np.inf if index == last else 1.0)
        share = tf.where(width > 0, tf.clip_by_value(share, low, high), 0.5 + 0.5 * tf.sign(above))
        scores += (at[index + 1] - at[index]) * share
    return scores


def _scale(numbers: tf.Tensor) -> tf.Tensor:
    """The scale of a location-scale family: [B, H, C]."""
    return tf.nn.softplus(numbers[..., 1] + SOFTPLUS_ONE) * numbers[..., -1] + SMALLEST_SCALE


def _dof(number: tf.Tensor) -> tf.Tensor:
    return LEAST_DOF + tf.nn.softplus(number + 2.0) + 1e-3


def stirling_rest(x: tf.Tensor) -> tf.Tensor:
    """`log Gamma(x) - ((x - 1/2) log x - x + 1/2 log 2 pi)` for x above 0, to float32's last digits: what is left of
    large logarithms.
    """
    small, large = (
        tf.minimum(x, _STIRLING_FROM),
        tf.maximum(x, _STIRLING_FROM),
    )  # each branch where its gradient is finite too
    exact = tf.math.lgamma(small) - ((small - 0.5) * tf.math.log(small) - small + 0.5 * math.log(2 * math.pi))
    square = tf.square(large)
    series = (1 / 12 - (1 / 360 - 1 / (1260 * square)) / square) / large
    return tf.where(x < _STIRLING_FROM, exact, series)


def negative_binomial_nats(count: tf.Tensor, mean: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Negative log probability of counts from 0, with variance `mean + mean^2 / shape`.

    Written so that nothing large is subtracted: for a large `shape` it is that of the Poisson distribution, for large
    counts it stays a sum of terms of the result's own size.
    """
    some = tf.maximum(count, 1.0)
    # log count! - count log mean + count
    factorial = some * _log_ratio(some, mean) + 0.5 * tf.math.log(2 * math.pi * some) + stirling_rest(some)
    poisson = tf.where(count > 0, factorial, 0.0)
    total = count + shape
    mixed = total * _log_ratio(mean + shape, total) + 0.5 * tf.math.log1p(count / shape)
    return poisson + mixed + stirling_rest(shape) - stirling_rest(total)


def _log_ratio(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`log(a / b)`, exact where the two are nearly equal."""
    excess = (a - b) / b
    near = tf.abs(excess) < 0.5
    return tf.where(near, tf.math.log1p(tf.where(near, excess, 0.0)), tf.math.log(a / b))


def negative_binomial_quantile(level: tf.Tensor, mean: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """The smallest count whose cumulative probability reaches `level` (float64, in (0, 1)); float32 of one shape with
    the others.

    Bisection between Cantelli's bounds: no quantile is farther from the mean than `sqrt(level / (1 - level))` standard
    deviations above it, or the inverse below.
    """
    mean, shape = tf.cast(mean, tf.float64), tf.cast(shape, tf.float64)
    deviation = tf.sqrt(mean + tf.square(mean) / shape)
    odds = tf.sqrt(level / tf.maximum(1 - level, 1e-12))
    low = tf.maximum(
        tf.floor(mean - deviation / tf.maximum(odds, 1e-6)) - 1, -1.0
    )  # its probability is below the level
    high = tf.math.ceil(mean + deviation * odds)  # its probability reaches the level

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = tf.floor((low + high) / 2)
        reached = tf.math.betainc(shape, tf.maximum(middle, 0.0) + 1, shape / (shape + mean)) >= level
        reached = tf.logical_and(reached, middle >= 0)
        return tf.where(reached, low, middle), tf.where(reached, middle, high)

    def apart(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        """Beyond 2^40, where neighbouring numbers may be more than 1 apart, as near as float32 has to know it."""
        return tf.reduce_any(high - low > tf.maximum(high * 2.0**-40, tf.ones_like(high)))

    _, high = tf.while_loop(apart, halve, (low, high))
    return tf.cast(high, tf.float32)


def student_t_at(scores: tf.Tensor, dof: tf.Tensor) -> tf.Tensor:
    """Student's t at normal scores `[..., B, H, C]`, degrees of freedom `[B, H, C]` of `LEAST_DOF` or more.

    `sqrt(dof * log(1 + t^2 / dof))` is nearly the score itself (Wallace 1959), and exactly so without end of the
    degrees of freedom. How far it is from it changes slowly with both, so a small table of the quotient gives the
    quantile to four digits, into the far tails.
    """
    size = tf.minimum(tf.abs(scores), _LARGEST_SCORE)
    row, row_part = _place((LEAST_DOF / dof + tf.zeros_like(scores)) * _TABLE_STEPS)
    column, column_part = _place(size / _LARGEST_SCORE * _TABLE_STEPS)
    with tf.init_scope():  # computed at once, in a graph too
        values = _student_t_table().reshape(-1)
    table, first = tf.constant(values), row * (_TABLE_STEPS + 1) + column
    above, below = (
        (1 - column_part) * tf.gather(table, first + step) + column_part * tf.gather(table, first + step + 1)
        for step in (0, _TABLE_STEPS + 1)
    )
    root = size * ((1 - row_part) * above + row_part * below)
    return tf.sign(scores) * tf.sqrt(dof * tf.math.expm1(tf.square(root) / dof))


def _place(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The table's place below `x`, int32, and how far `x` is on the way to the next one."""
    low = tf.clip_by_value(tf.floor(x), 0, _TABLE_STEPS - 1)
    return tf.cast(low, tf.int32), x - low


@functools.cache
def _student_t_table() -> np.ndarray:
    """`sqrt(dof * log(1 + t^2 / dof)) / score` at `LEAST_DOF / dof` = 0, 1/64, ..., 1 and so many scores to the
    largest, by bisection.
    """
    steps = np.arange(1, _TABLE_STEPS + 1) / _TABLE_STEPS
    dof, score = np.meshgrid(LEAST_DOF / steps, _LARGEST_SCORE * np.concatenate([[1e-4], steps]), indexing="ij")
    half = tf.constant(0.5, tf.float64)
    beyond = 0.5 * tf.math.erfc(tf.constant(score / math.sqrt(2))).numpy()
    low, high = np.zeros_like(score), 2 * score
    for _ in range(60):
        middle = (low + high) / 2
        tail = (
            0.5 * tf.math.betainc(tf.constant(dof / 2), half + 0 * dof, tf.constant(np.exp(-(middle**2) / dof))).numpy()
        )
        low, high = np.where(tail > beyond, middle, low), np.where(tail > beyond, high, middle)
    return np.concatenate([np.ones((1, _TABLE_STEPS + 1)), high / score]).astype(np.float32)

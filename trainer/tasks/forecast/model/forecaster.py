"""A recurrent forecaster: normalises each window, has networks read it, and weighs what they forecast with a
regression.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.config.train import ModelFlags
from trainer.nn.model import Model
from trainer.nn.step_context import StepContext
from trainer.tasks.forecast.data.windows import Batch, WindowShape
from trainer.tasks.forecast.flags import ForecastFlags
from trainer.tasks.forecast.model.autoregressive_decoder import AutoregressiveDecoder, DecoderInputs
from trainer.tasks.forecast.model.distributions import Distribution
from trainer.tasks.forecast.model.networks import Encoder, ParallelNetwork
from trainer.tasks.forecast.model.teacher_forcing import sampler, true_values

SMALLEST_UNIT = 0.05  # of a series' standard deviation: a window without changes does not make its future certain


def last_observed(past: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """Each window's last observed value, 0 where none is: [B, L, C] -> [B, 1, C]."""
    steps = tf.range(1, tf.shape(past)[1] + 1, dtype=tf.float32)[None, :, None]
    latest = tf.reduce_max(steps * observed, axis=1, keepdims=True)  # from 1; 0 where none is
    chosen = tf.cast(tf.equal(steps, latest), past.dtype) * observed
    return tf.reduce_sum(tf.where(chosen > 0, past, 0.0), axis=1, keepdims=True)


def usual_change(past: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """Each window's mean absolute change from one step to the next, both observed; `SMALLEST_UNIT` is added: [B, L, C]
    -> [B, 1, C].
    """
    both = observed[:, 1:] * observed[:, :-1]
    changes = tf.reduce_sum(tf.abs(past[:, 1:] - past[:, :-1]) * both, axis=1, keepdims=True)
    return changes / tf.maximum(tf.reduce_sum(both, axis=1, keepdims=True), 1.0) + SMALLEST_UNIT


class Forecaster(Model):
    """Standardises each window reversibly, reads it with a recurrent encoder, and writes all steps of the horizon at
    once.

    The standardisation takes the window's last value as its zero and gives it back to the forecast (NLinear, Zeng et
    al. 2023); the scale is the series' own, which the records hold.

    `ParallelNetwork` writes all steps at once. With an ensemble there are several of them, each with a start, a dropout
    and windows of its own: each learns from its share of every batch. The forecast is their mean (Hansen and Salamon
    1990; Lakshminarayanan et al. 2017), which leaves out much of what a single one makes up by chance. The
    autoregressive decoder (`AutoregressiveDecoder`) writes segment after segment instead.

    The linear skip is a linear map of the lookback: the ridge regression that was fitted to the training split
    beforehand, and is not trained. Added, the rest begins with a forecast of 0: so training starts from the regression
    and learns what it leaves over. Averaged, the network is trained alone. Either way a point forecast is a weighted
    mean of the regression and the trained whole, as errors of different kinds cancel out (Bates and Granger 1969);
    `network_share` is the weight of the latter, which validation sets.

    Of several numbers for each value (see distributions.py), the first one moves with the window and gets the linear
    map. One more is the window's usual change, in whose units the distribution is wide or narrow: a calm window gets a
    narrow forecast without the network having to learn it.
    """

    def __init__(
        self,
        shape: WindowShape,
        num_series: int,
        forecast: ForecastFlags,
        model: ModelFlags,
        dtype: str,
        kernel: str = "auto",
        distribution: Distribution | None = None,
        linear: np.ndarray | None = None,
    ):
        """`linear` holds the weights `[L, H]` of the linear skip; without them they are 0 until a checkpoint gives
        them.
        """
        super().__init__("forecaster")
        numbers = 1 if distribution is None else distribution.size
        self._shape, self._numbers, self._distribution = shape, numbers, distribution
        self._segment, self._teacher_forcing = forecast.segment, forecast.teacher_forcing_course
        self._skip, self._adds, self.network_share = None, forecast.linear_skip == "add", None
        start = "zeros" if self._adds else "glorot_uniform"  # of what is added to the linear skip
        self._decoder: AutoregressiveDecoder | None = None
        self._networks: list[ParallelNetwork] = []
        if forecast.decoder == "parallel":
            names = [f"network_{member}" for member in range(forecast.ensemble_size)]
            arguments = (shape, forecast.segment, num_series, model, dtype, kernel)
            self._networks = [ParallelNetwork(*arguments, numbers=numbers, start=start, name=name) for name in names]
        else:
            self._encoder = Encoder(shape, forecast.segment, num_series, model, dtype, kernel, embeds=True)
            self._decoder = AutoregressiveDecoder(shape, forecast.segment, model, dtype, kernel, numbers, start)
        if forecast.linear_skip == "none":
            return
        if self._decoder is None and distribution is None:
            start_share = keras.initializers.Constant(1.0 if self._adds else 0.5)
            self.network_share = self.add_weight(
                shape=(), initializer=start_share, trainable=False, dtype="float32", name="network_share"
            )
        weights = np.zeros([shape.lookback, shape.horizon]) if linear is None else linear
        # through the initializer, so that all replicas and workers begin with the chief's
        self._skip = keras.layers.Dense(
            shape.horizon,
            use_bias=False,
            trainable=False,
            kernel_initializer=lambda _shape, dtype: tf.constant(weights, dtype),
            dtype="float32",
            name="skip",
        )

    def call(self, batch: Batch, context: StepContext | None = None) -> tf.Tensor:
        """Forecasts `[B, H, C]` float32, in the units of `batch["past"]`; shapes as in `WindowShape.signature`.

        With several numbers for each value they are the last dimension, `[B, H, C, P + 1]`, the window's usual change
        behind them. Those of an autoregressive decoder are of each value given the true ones before it: they are for
        its likelihood, `paths` forecast.
        """
        if self._decoder is not None:
            return self._decoded(self._decoder, batch, context)
        whole, regression = self.parts(batch, context)
        if context is not None or self.network_share is None:
            return whole
        return regression + self.network_share * (whole - regression)

    def parts(self, batch: Batch, context: StepContext | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """The trained forecast, as `call` gives it, and the regression alone, `[B, H, C]`: the two that a weighted
        forecast is made of.
        """
        zero, past, x = self._relative(batch)
        written = self._mean(x, batch) if context is None else self._trained(x, batch, context)
        forecast, others = self._numbered(written)
        regression = self._skipped(past) + zero
        forecast += regression if self._adds else zero
        if others is None:
            return forecast, regression
        return self._with_unit(tf.concat([forecast[..., None], others], axis=-1), batch), regression

    def _mean(self, x: tf.Tensor, batch: Batch) -> tf.Tensor:
        """The mean of what all networks write, `[B, H, C * P]`."""
        return tf.add_n([network(x, batch) for network in self._networks]) / len(self._networks)

    def _trained(self, x: tf.Tensor, batch: Batch, context: StepContext) -> tf.Tensor:
        """The outputs of the networks on their own rows, `[B, H, C * P]`: of M networks the first one has rows 0, M, 2M
        and so on.

        So dealt out, a row has the same network however replicas share the batch, as long as M divides each one's rows.
        """
        count = len(self._networks)

        def dealt(part: tf.Tensor) -> list[tf.Tensor]:
            return tf.unstack(tf.reshape(part, [-1, count, *part.shape[1:]]), axis=1)

        parts = {name: dealt(batch[name]) for name in ("series", "future_features")}
        written = [
            network(part_x, {name: part[member] for name, part in parts.items()}, context=context.inside(network.name))
            for member, (network, part_x) in enumerate(zip(self._networks, dealt(x)))
        ]
        return tf.reshape(tf.stack(written, axis=1), [-1, *written[0].shape[1:]])

    def paths(self, batch: Batch, scores: tf.Tensor) -> tf.Tensor:
        """Sample paths `[N, B, H, C]` of an autoregressive decoder with a distribution, each value drawn from what the
        path is so far.

        `scores: [N, B or 1, H, C]`, standard normal, decide on the draws.
        """
        assert self._decoder is not None and self._distribution is not None
        count, rows, (_, horizon, channels) = (
            scores.shape[0] or tf.shape(scores)[0],
            tf.shape(batch["past"])[0],
            scores.shape[1:],
        )
        scores = tf.reshape(tf.broadcast_to(scores, [count, rows, horizon, channels]), [-1, horizon, channels])
        zero, past, x = self._relative(batch)
        inputs = (
            self._decoder_inputs(batch, past, x, None),
            zero,
            usual_change(batch["past"], batch["past_observed"]),
            batch["series"],
        )
        start, zero, unit, series = tf.nest.map_structure(lambda part: _times(part, count), inputs)
        sampled = sampler(self._distribution, zero, unit, series, scores)
        return tf.reshape(
            self._decoder(start, sampled=sampled, return_values=True) + zero, [count, -1, horizon, channels]
        )

    def _relative(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Each window's last value [B, 1, C], the lookback relative to it [B, L, C], and all that the encoder reads [B,
        L, 2C + F].
        """
        zero = last_observed(batch["past"], batch["past_observed"])
        past = tf.where(batch["past_observed"] > 0, batch["past"] - zero, 0.0)
        features = (
            [batch["past_features"]] if self._shape.features else []
        )  # what is empty would stand in the exported graph
        return zero, past, tf.concat([past, 1.0 - batch["past_observed"], *features], axis=-1)

    def _with_unit(self, numbers: tf.Tensor, batch: Batch) -> tf.Tensor:
        """`[B, H, C, P] -> [B, H, C, P + 1]`."""
        unit = tf.broadcast_to(usual_change(batch["past"], batch["past_observed"]), tf.shape(numbers)[:-1])
        return tf.concat([numbers, unit[..., None]], axis=-1)

    def _numbered(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """`[B, H, C * P]` -> the first number of each value `[B, H, C]`, and the others `[B, H, C, P - 1]` where there
        are any.
        """
        if self._numbers == 1:
            return x, None
        x = tf.reshape(x, [-1, self._shape.horizon, self._shape.channels, self._numbers])
        return x[..., 0], x[..., 1:]

    def _decoded(self, decoder: AutoregressiveDecoder, batch: Batch, context: StepContext | None) -> tf.Tensor:
        """The output of `call`: one segment after another, each behind the true values before it or not."""
        zero, past, x = self._relative(batch)
        sampled = teacher_targets = None
        if self._distribution is not None:
            scores = tf.zeros([tf.shape(past)[0], self._shape.horizon, self._shape.channels])
            if context is not None:
                scores = context.normal_of_rows(tf.shape(past)[0], scores.shape[1:].as_list(), "draws")
            sampled = sampler(
                self._distribution, zero, usual_change(batch["past"], batch["past_observed"]), batch["series"], scores
            )
        first, last = self._teacher_forcing
        if context is not None and max(first, last) > 0:
            teacher_targets = true_values(
                batch, zero, self._segment, first + (last - first) * context.progress, context
            )
        elif context is None and self._distribution is not None:  # a likelihood is that of the true path
            teacher_targets = true_values(batch, zero, self._segment, 1.0, None)
        numbers = decoder(
            self._decoder_inputs(batch, past, x, context),
            sampled=sampled,
            teacher_targets=teacher_targets,
            context=context,
        )
        numbers = tf.concat([numbers[..., :1] + zero[..., None], numbers[..., 1:]], axis=-1)
        return numbers[..., 0] if self._distribution is None else self._with_unit(numbers, batch)

    def _decoder_inputs(
        self, batch: Batch, past: tf.Tensor, x: tf.Tensor, context: StepContext | None
    ) -> DecoderInputs:
        read = self._encoder(x, batch, context=context)
        return DecoderInputs(
            past[:, -self._segment :], batch["future_features"], read.series, self._skipped(past), read.state
        )

    def _skipped(self, past: tf.Tensor) -> tf.Tensor:
        """The linear map of the lookback, [B, H, C]; zeros where there is none."""
        if self._skip is None:
            return tf.zeros([tf.shape(past)[0], self._shape.horizon, self._shape.channels])
        return tf.transpose(self._skip(tf.transpose(past, [0, 2, 1])), [0, 2, 1])


def _times(part: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """`[B, ...] -> [N * B, ...]`, the whole batch N times over."""
    return tf.tile(part, tf.concat([[count], tf.ones([part.shape.rank - 1], tf.int32)], axis=0))

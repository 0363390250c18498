"""The autoregressive decoder of forecasts."""

import numpy as np
import pytest
from autoregressive import HORIZON, LOOKBACK, SEGMENT, UNITS, make
from numpy_gru import gru


@pytest.mark.parametrize("segment, features", [(1, 3), (SEGMENT, 3), (SEGMENT, 0)])
def test_each_segment_is_read_by_the_next(tf, segment, features):
    """The whole forecast by a loop in numpy: encoder, then segment after segment, the linear map added before it is
    read.
    """
    model, batch = make(tf, segment, features=features, linear_skip="add")
    model(batch)
    layers, zero = model._decoder, batch["past"][:, -1:, 0]
    random = np.random.default_rng(3)
    for layer in (model._skip, layers._write):  # both begin with zeros
        layer.set_weights([random.normal(size=weight.shape).astype(np.float32) for weight in layer.get_weights()])
    past = batch["past"][..., 0] - zero
    x = np.concatenate([past[..., None], np.zeros_like(batch["past"]), batch["past_features"]], axis=-1)
    h = np.zeros((4, UNITS))
    for step in range(LOOKBACK // segment):
        part = x[:, step * segment : (step + 1) * segment].reshape(4, -1)
        h = gru(part if segment == 1 else model._encoder._embed(part).numpy(), h, model._encoder.stack._stacked[0])
    added, series = past @ model._skip.kernel.numpy(), model._encoder._series.embeddings.numpy()
    before, expected = past[:, -segment:], []
    for first in range(0, HORIZON, segment):
        rows = slice(first, first + segment)
        read = np.concatenate(
            [before, batch["future_features"][:, rows].reshape(4, segment * features), series], axis=1
        )
        h = gru(layers._read(read).numpy(), h, layers.stack._stacked[0])
        before = layers._write(h.astype(np.float32)).numpy() + added[:, rows]
        expected.append(before)
    np.testing.assert_allclose(
        model(batch).numpy()[..., 0], np.concatenate(expected, axis=1) + zero, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gradients_reach_every_weight_through_the_whole_horizon(tf, cell):
    """The error of the last segment alone has a gradient everywhere, the same in a graph as step by step."""
    model, batch = make(tf, cell=cell)
    model(batch)
    variables = [variable.value for variable in model.trainable_variables]

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(batch)[:, -SEGMENT:]))
        return [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]

    eager, graph = gradients(), tf.function(gradients)()
    for variable, one, other in zip(variables, eager, graph):
        assert np.abs(one.numpy()).max() > 0, variable.name
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)

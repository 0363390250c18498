"""The network that writes all steps at once, and ensembles of it."""

import itertools

import numpy as np
import pytest
from numpy_gru import gru

from trainer.config.train import ModelFlags
from trainer.tasks.forecast.flags import ForecastFlags

LOOKBACK, HORIZON, UNITS, SERIES = 12, 6, 5, 4


def make(tf, segment=3, features=2, dropout=0.0, **forecast):
    import keras

    from trainer.tasks.forecast.data.windows import WindowShape
    from trainer.tasks.forecast.model.forecaster import Forecaster

    keras.utils.set_random_seed(1)
    shape = WindowShape(LOOKBACK, HORIZON, 1, features)
    config = ForecastFlags(lookback=LOOKBACK, horizon=HORIZON, segment_length=segment, **forecast)
    model = Forecaster(shape, SERIES, config, ModelFlags(units=UNITS, cell="gru", dropout=dropout), "float32")
    random = np.random.default_rng(0)
    batch = {
        name: random.normal(size=spec.shape).astype(np.float32)
        for name, spec in shape.signature(4).items()
        if name != "series"
    }
    batch |= {"past_observed": np.ones_like(batch["past"]), "series": np.arange(4, dtype=np.int32)[:, None]}
    model(batch)
    return model, batch


def noise_of(tf):
    from trainer.nn.step_context import StepContext

    return StepContext.of(0, tf.constant(3), tf.constant(0))


def alone(tf, ensemble, member, **options):
    """A forecaster of one network, which has the weights of a member of another's."""
    model, _ = make(tf, **options)
    of = {variable.path: variable for variable in ensemble.variables}
    for variable in model.variables:
        variable.assign(of[variable.path.replace("network_0", f"network_{member}")])
    return model


def shake(model):
    """Moves every weight a little."""
    random = np.random.default_rng(6)
    for variable in model.trainable_variables:
        variable.assign_add(random.normal(size=variable.shape, scale=0.1))


@pytest.mark.parametrize(("segment", "features"), [(1, 2), (3, 2), (3, 0)])
def test_every_segment_goes_on_from_the_lookback(tf, segment, features):
    """The whole forecast by a loop in numpy: the encoder, then each segment of the horizon by itself, or all of it by
    one matrix.
    """
    model, batch = make(tf, segment, features)
    network, zero = model._networks[0], batch["past"][:, -1:, 0]
    layer, embed = network.encoder.stack._stacked[0], network.encoder._embed
    x = np.concatenate([batch["past"] - zero[..., None], np.zeros_like(batch["past"]), batch["past_features"]], axis=-1)
    h = np.zeros((4, UNITS), np.float32)
    for first in range(0, LOOKBACK, segment):
        part = x[:, first : first + segment].reshape(4, -1)
        h = gru(part if segment == 1 else embed(part).numpy(), h, layer)
    if segment == 1:
        expected = network._head(h).numpy()
    else:
        position, series = network._position.embeddings.numpy(), network.encoder._series.embeddings.numpy()
        asked = [np.concatenate([np.tile(place, (4, 1)), series], axis=1) for place in position]
        expected = np.concatenate([network._head(gru(each, h, layer)).numpy() for each in asked], axis=1)
    if features:
        hidden = np.maximum(
            network._time_in(batch["future_features"]).numpy() + network._state_in(h).numpy()[:, None], 0
        )
        expected = expected + network._time_out(hidden).numpy()[..., 0]
    np.testing.assert_allclose(model(batch).numpy()[..., 0], expected + zero, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("skip", ["none", "average", "add"])
def test_an_ensemble_forecasts_the_mean_of_its_networks(tf, skip):
    model, batch = make(tf, ensemble_size=3, linear_skip=skip)
    starts = [alone(tf, model, member, linear_skip=skip)(batch).numpy() for member in range(3)]
    assert all(
        (np.abs(one - other).max() > 0.01) == (skip != "add") for one, other in itertools.combinations(starts, 2)
    )
    shake(model)  # with `add` they forecast nothing at first
    each = [alone(tf, model, member, linear_skip=skip)(batch).numpy() for member in range(3)]
    np.testing.assert_allclose(model(batch).numpy(), np.mean(each, axis=0), rtol=1e-5, atol=1e-5)


def test_networks_drop_other_units(tf):
    """Two networks with the same weights, given the same windows: dropout is all that is different."""
    model, batch = make(tf, ensemble_size=2, dropout=0.5)
    by_path = {variable.path: variable for variable in model.variables}
    for path, variable in by_path.items():
        variable.assign(by_path[path.replace("network_1", "network_0")])
    pairs = {name: np.repeat(part[:2], 2, axis=0) for name, part in batch.items()}
    trained = model(pairs, context=noise_of(tf)).numpy()
    assert (trained[0::2] != trained[1::2]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("options", [{}, {"segment": 1, "features": 0}, {"linear_skip": "add"}])
def test_each_network_learns_from_its_share_of_a_batch(tf, options):
    """In training row i is forecast by network i % M alone, however replicas share the batch."""
    model, batch = make(tf, ensemble_size=2, **options)
    shake(model)
    trained = model(batch, context=noise_of(tf)).numpy()
    for member in range(2):
        single = alone(tf, model, member, **options)
        np.testing.assert_allclose(trained[member::2], single(batch).numpy()[member::2], rtol=1e-5, atol=1e-5)
    halves = [
        model({name: part[rows] for name, part in batch.items()}, context=noise_of(tf))
        for rows in (slice(2), slice(2, 4))
    ]
    np.testing.assert_allclose(trained, np.concatenate(halves), rtol=1e-5, atol=1e-5)
    with tf.GradientTape() as tape:
        first = tf.reduce_sum(tf.square(model(batch, context=noise_of(tf))[0::2]))
    gradients = tape.gradient(first, [variable.value for variable in model.trainable_variables])
    touched = {
        variable.path.split("/")[1]
        for variable, gradient in zip(model.trainable_variables, gradients)
        if gradient is not None and np.abs(tf.convert_to_tensor(gradient).numpy()).max() > 0
    }
    assert touched == {"network_0"}

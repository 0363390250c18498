"""The network that writes all steps at once, and ensembles of it."""

import itertools

import numpy as np
import pytest
from numpy_gru import gru

from trainer.config import ForecastConfig, ModelConfig

LOOKBACK, HORIZON, UNITS, SERIES = 12, 6, 5, 4


def make(tf, segment=3, features=2, dropout=0.0, **forecast):
    import keras

    from trainer.data.windows import WindowShape
    from trainer.models.forecaster import Forecaster

    keras.utils.set_random_seed(1)
    shape = WindowShape(LOOKBACK, HORIZON, 1, features)
    config = ForecastConfig(lookback=LOOKBACK, horizon=HORIZON, segment_length=segment, **forecast)
    model = Forecaster(shape, SERIES, config, ModelConfig(units=UNITS, cell="gru", dropout=dropout), "float32")
    random = np.random.default_rng(0)
    batch = {name: random.normal(size=spec.shape).astype(np.float32) for name, spec in shape.signature(4).items() if name != "series"}
    batch |= {"past_observed": np.ones_like(batch["past"]), "series": np.arange(4, dtype=np.int32)[:, None]}
    model(batch)
    return model, batch


def alone(tf, ensemble, member, **options):
    """A forecaster of one network, which has the weights of a member of another's."""
    model, _ = make(tf, **options)
    of = {variable.path: variable for variable in ensemble.variables}
    for variable in model.variables:
        variable.assign(of[variable.path.replace("network_0", f"network_{member}")])
    return model


@pytest.mark.parametrize(("segment", "features"), [(1, 2), (3, 2), (3, 0)])
def test_every_segment_goes_on_from_the_lookback(tf, segment, features):
    """The whole forecast by a loop in numpy: the encoder, then each segment of the horizon by itself, or all of it by one matrix."""
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
        hidden = np.maximum(network._time_in(batch["future_features"]).numpy() + network._state_in(h).numpy()[:, None], 0)
        expected = expected + network._time_out(hidden).numpy()[..., 0]
    np.testing.assert_allclose(model(batch).numpy()[..., 0], expected + zero, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("skip", ["none", "average", "add"])
def test_an_ensemble_forecasts_the_mean_of_its_networks(tf, skip):
    model, batch = make(tf, ensemble_size=3, linear_skip=skip)
    starts = model.members(batch).numpy()
    assert all((np.abs(one - other).max() > 0.01) == (skip != "add") for one, other in itertools.combinations(starts, 2))
    random = np.random.default_rng(6)
    for variable in model.trainable_variables:  # with `add` they forecast nothing at first
        variable.assign_add(random.normal(size=variable.shape, scale=0.1))
    each = [alone(tf, model, member, linear_skip=skip)(batch).numpy() for member in range(3)]
    np.testing.assert_allclose(model(batch).numpy(), np.mean(each, axis=0), rtol=1e-5, atol=1e-5)


def test_networks_drop_other_units(tf):
    """Two members with the same weights read the same without dropout only."""
    from trainer.models.noise import Noise

    model, batch = make(tf, ensemble_size=2, dropout=0.5)
    by_path = {variable.path: variable for variable in model.variables}
    for path, variable in by_path.items():
        variable.assign(by_path[path.replace("network_1", "network_0")])
    one, other = model.members(batch).numpy()
    np.testing.assert_array_equal(one, other)
    one, other = model.members(batch, Noise.of(0, tf.constant(3), tf.constant(0))).numpy()
    assert (one != other).any()


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_networks_are_trained_by_their_own_errors(tf, small_dataset, tmp_path, loss):
    """The loss is the mean of their losses, not the loss of their mean: each one's gradient is that of training it alone."""
    from conftest import train_config

    from trainer.data.manifest import read
    from trainer.models.noise import Noise
    from trainer.tasks.forecast import ForecastTask

    def built(size):
        options = (f"--ensemble_size={size}", f"--forecast_loss={loss}")
        task = ForecastTask(train_config(small_dataset, tmp_path / str(size), *options), read(str(small_dataset)))
        model = task.build_model("float32")
        batch = next(iter(task.training_batches(0, 16)))
        model(batch)
        return task, model, batch

    def trained(task, model, batch):
        with tf.GradientTape() as tape:
            total, weight, _ = task.loss(model, batch, Noise.of(0, tf.constant(0), tf.constant(0)), ())
            each = total / weight
        return each.numpy(), tape.gradient(each, [variable.value for variable in model.trainable_variables])

    task, model, batch = built(2)
    loss_of_both, gradients = trained(task, model, batch)
    found = {variable.path: gradient for variable, gradient in zip(model.trainable_variables, gradients)}
    losses = []
    for member in range(2):
        task, single, batch = built(1)
        of = {variable.path: variable for variable in model.variables}
        renamed = {variable.path: variable.path.replace("network_0", f"network_{member}") for variable in single.variables}
        for variable in single.variables:
            variable.assign(of[renamed[variable.path]])
        loss_alone, gradients = trained(task, single, batch)
        losses.append(loss_alone)
        for variable, gradient in zip(single.trainable_variables, gradients):
            half = tf.convert_to_tensor(found[renamed[variable.path]]).numpy()
            np.testing.assert_allclose(2 * half, tf.convert_to_tensor(gradient).numpy(), rtol=1e-4, atol=1e-6)
    assert loss_of_both == pytest.approx(np.mean(losses), rel=1e-5)

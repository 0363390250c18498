import numpy as np
import pytest

from trainer.config.train import ModelFlags
from trainer.tasks.forecast.flags import ForecastFlags


def make(tf, features=6, linear=None, **forecast):
    import keras

    from trainer.tasks.forecast.data.windows import WindowShape
    from trainer.tasks.forecast.model.forecaster import Forecaster

    keras.utils.set_random_seed(1)
    shape = WindowShape(12, 4, 2, features)
    config = ForecastFlags(lookback=12, horizon=4, **forecast)
    return shape, Forecaster(shape, 2, config, ModelFlags(units=5, num_layers=2), "float32", linear=linear)


def batch_of(tf, shape, size=3, seed=0):
    random = np.random.default_rng(seed)
    batch = {
        name: random.normal(size=spec.shape).astype(np.float32)
        for name, spec in shape.signature(size).items()
        if name != "series"
    }
    batch["past_observed"] = (random.random((size, 12, 2)) > 0.3).astype(np.float32)
    batch["series"] = np.zeros((size, 2), np.int32)
    return batch


@pytest.mark.parametrize("options", [{}, {"segment_length": 2}, {"linear_skip": "add"}, {"features": 0}])
def test_a_forecast_moves_with_its_window(tf, options):
    """Shifting the lookback shifts the forecast: the standardisation is reversible."""
    shape, model = make(tf, **options)
    batch = batch_of(tf, shape)
    before = model(batch).numpy()
    assert before.shape == (3, 4, 2) and np.isfinite(before).all()
    moved = model({**batch, "past": batch["past"] + 70}).numpy()
    np.testing.assert_allclose(moved, before + 70, rtol=1e-4, atol=1e-3)


def test_missing_values_are_not_looked_at(tf):
    shape, model = make(tf)
    batch = batch_of(tf, shape)
    garbage = np.where(batch["past_observed"] > 0, batch["past"], 1e3).astype(np.float32)
    np.testing.assert_allclose(model({**batch, "past": garbage}).numpy(), model(batch).numpy(), rtol=1e-5)


def test_windows_that_are_flat_or_empty_stay_finite(tf):
    shape, model = make(tf)
    batch = batch_of(tf, shape)
    flat = {**batch, "past": np.full((3, 12, 2), 5.0, np.float32)}
    forecast = model(flat).numpy()
    assert np.abs(forecast - 5).max() < 2
    empty = {**batch, "past_observed": np.zeros((3, 12, 2), np.float32)}
    assert np.isfinite(model(empty).numpy()).all()


def test_the_future_calendar_matters(tf):
    shape, model = make(tf)
    batch = batch_of(tf, shape)
    changed = {**batch, "future_features": batch["future_features"] + 1}
    assert (model(changed).numpy() != model(batch).numpy()).any()


@pytest.mark.parametrize("options", [{}, {"segment_length": 1}, {"decoder": "autoregressive"}])
def test_the_linear_skip_is_what_a_forecast_starts_from(tf, options):
    """It is a linear map of the lookback, relative to the last value, that training leaves alone; all else adds nothing
    at first.
    """
    weights = np.random.default_rng(3).normal(size=(12, 4)).astype(np.float32)
    shape, model = make(tf, linear_skip="add", linear=weights, **options)
    batch = batch_of(tf, shape)
    zero = zero_of(batch)
    centred = np.where(batch["past_observed"] > 0, batch["past"] - zero, 0.0)
    expected = np.einsum("blc,lh->bhc", centred, weights) + zero
    np.testing.assert_allclose(model(batch).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert [variable.path for variable in model.non_trainable_variables if "skip" in variable.path] == [
        "forecaster/skip/kernel"
    ]


@pytest.mark.parametrize("how", ["add", "average"])
def test_a_forecast_with_the_skip_is_a_weighted_mean_of_two(tf, how):
    """The network is trained as if it stood alone, or on what the regression leaves over; `network_share` weighs the
    two.
    """
    from trainer.nn.step_context import StepContext

    weights = np.random.default_rng(3).normal(size=(12, 4)).astype(np.float32)
    shape, model = make(tf, linear_skip=how, linear=weights)
    _, alone = make(tf)
    _, skip = make(tf, linear_skip="add", linear=weights)  # the rest is 0 at first
    batch = batch_of(tf, shape)
    for built in (model, alone):
        built(batch)
    random = np.random.default_rng(4)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape, scale=0.3))
    of = {variable.path: variable.numpy() for variable in model.variables}
    for variable in alone.variables:
        variable.assign(of[variable.path])
    regression, context = skip(batch).numpy(), StepContext.of(0, tf.constant(3), tf.constant(0))
    beside = 0.0 if how == "average" else regression - zero_of(batch)  # both are relative to the last value
    trained = alone(batch).numpy() + beside
    assert float(model.network_share) == (0.5 if how == "average" else 1.0)
    for share in (0.0, 0.3, 1.0):
        model.network_share.assign(share)
        np.testing.assert_allclose(
            model(batch).numpy(), share * trained + (1 - share) * regression, rtol=1e-4, atol=1e-4
        )
    np.testing.assert_allclose(
        model(batch, context=context).numpy(), alone(batch, context=context).numpy() + beside, rtol=1e-4, atol=1e-4
    )


def zero_of(batch):
    """The last observed value of each window, [B, 1, C]."""
    windows, _, channels = batch["past"].shape
    zero = np.zeros((windows, 1, channels), np.float32)
    for window, channel in np.ndindex(windows, channels):
        seen = np.flatnonzero(batch["past_observed"][window, :, channel])
        zero[window, 0, channel] = batch["past"][window, seen[-1], channel]
    return zero


def test_segments_of_the_future_know_their_place_and_their_series(tf):
    import keras

    from trainer.tasks.forecast.data.windows import WindowShape
    from trainer.tasks.forecast.model.forecaster import Forecaster

    keras.utils.set_random_seed(1)
    shape = WindowShape(12, 4, 1, 0)
    model = Forecaster(
        shape, 3, ForecastFlags(lookback=12, horizon=4, segment_length=2), ModelFlags(units=6, cell="gru"), "float32"
    )
    random = np.random.default_rng(0)
    past = np.repeat(random.normal(size=(1, 12, 1)), 3, axis=0).astype(np.float32)
    batch = {
        "past": past,
        "past_observed": np.ones_like(past),
        "past_features": np.zeros((3, 12, 0), np.float32),
        "future_features": np.zeros((3, 4, 0), np.float32),
        "series": np.arange(3, dtype=np.int32)[:, None],
    }
    forecast = model(batch).numpy()[..., 0]
    assert not np.allclose(forecast[0], forecast[1]) and not np.allclose(forecast[:, :2], forecast[:, 2:])

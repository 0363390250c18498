import numpy as np
import pytest

from trainer.config import ForecastConfig, ModelConfig


def make(tf, features=6, **forecast):
    import keras

    from trainer.data.windows import WindowShape
    from trainer.models.forecaster import Forecaster

    keras.utils.set_random_seed(1)
    shape = WindowShape(12, 4, 2, features)
    return shape, Forecaster(shape, ForecastConfig(lookback=12, horizon=4, **forecast), ModelConfig(units=5, num_layers=2), "float32")


def batch_of(tf, shape, size=3, seed=0):
    random = np.random.default_rng(seed)
    batch = {name: random.normal(size=spec.shape).astype(np.float32) for name, spec in shape.signature(size).items() if name != "series"}
    batch["past_observed"] = (random.random((size, 12, 2)) > 0.3).astype(np.float32)
    batch["series"] = np.zeros((size, 2), np.int32)
    return batch


@pytest.mark.parametrize("options", [{}, {"segment_length": 3}, {"linear_skip": False}, {"features": 0}])
def test_a_forecast_moves_with_its_window(tf, options):
    """Shifting and stretching the lookback shifts and stretches the forecast: the standardisation is reversible."""
    shape, model = make(tf, **options)
    batch = batch_of(tf, shape)
    before = model(batch).numpy()
    assert before.shape == (3, 4, 2) and np.isfinite(before).all()
    moved = model({**batch, "past": batch["past"] * 50 + 700}).numpy()
    np.testing.assert_allclose(moved, before * 50 + 700, rtol=1e-4, atol=0.05)


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
    assert np.abs(forecast - 5).max() < 0.1
    empty = {**batch, "past_observed": np.zeros((3, 12, 2), np.float32)}
    assert np.isfinite(model(empty).numpy()).all()


def test_the_future_calendar_matters(tf):
    shape, model = make(tf)
    batch = batch_of(tf, shape)
    changed = {**batch, "future_features": batch["future_features"] + 1}
    assert (model(changed).numpy() != model(batch).numpy()).any()


def test_the_linear_skip_is_a_linear_map_of_the_standardised_lookback(tf):
    shape, model = make(tf, features=0)
    batch = batch_of(tf, shape)
    before = model(batch).numpy()
    weights = np.random.default_rng(3).normal(size=(12, 4)).astype(np.float32)
    model._skip.set_weights([weights, np.zeros(4, np.float32)])
    observed = batch["past_observed"]
    mean = (batch["past"] * observed).sum(1) / observed.sum(1)
    std = np.sqrt((((batch["past"] - mean[:, None]) ** 2) * observed).sum(1) / observed.sum(1) + 1e-6)
    scaled = (batch["past"] - mean[:, None]) / std[:, None] * observed
    expected = np.einsum("blc,lh->bhc", scaled, weights) * std[:, None]
    np.testing.assert_allclose(model(batch).numpy() - before, expected, rtol=1e-3, atol=1e-4)

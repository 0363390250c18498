"""The peers that `benchmarks/train.py` compares with do the work that ours does: same weights, same forecasts."""

import numpy as np
import pytest

LOOKBACK, HORIZON, SEGMENT, UNITS, SERIES = 24, 12, 6, 8, 7


def our_forecaster(tf):
    from trainer.config.train import ModelFlags
    from trainer.tasks.forecast.data.windows import WindowShape
    from trainer.tasks.forecast.flags import ForecastFlags
    from trainer.tasks.forecast.model.forecaster import Forecaster

    forecast = ForecastFlags(lookback=LOOKBACK, horizon=HORIZON, segment_length=SEGMENT)
    model = Forecaster(
        WindowShape(LOOKBACK, HORIZON, 1, 0),
        SERIES,
        forecast,
        ModelFlags(cell="gru", units=UNITS, dropout=0.5),
        "float32",
    )
    random = np.random.default_rng(0)
    batch = {
        "past": random.normal(size=(5, LOOKBACK, 1)).astype(np.float32),
        "past_observed": (random.random((5, LOOKBACK, 1)) > 0.2).astype(np.float32),
        "past_features": np.zeros((5, LOOKBACK, 0), np.float32),
        "future_features": np.zeros((5, HORIZON, 0), np.float32),
        "series": random.integers(0, SERIES, (5, 1)).astype(np.int32),
    }
    batch["past"] *= batch["past_observed"]
    batch = {name: tf.constant(value) for name, value in batch.items()}
    model(batch)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    return model, batch


def test_the_pytorch_forecaster_gives_our_forecasts(tf):
    torch = pytest.importorskip("torch")
    from torch_jobs import forecaster

    model, batch = our_forecaster(tf)
    ours = {weight.path.split("/", 1)[1]: torch.from_numpy(weight.numpy().copy()) for weight in model.weights}

    def gates(matrix):  # ours has z, r, candidate; PyTorch r, z, candidate
        z, r, candidate = matrix.split(UNITS, dim=-1)
        return torch.cat([r, z, candidate], dim=-1)

    peer = forecaster(LOOKBACK, HORIZON, SEGMENT, UNITS, SERIES).eval()
    recurrent = {name.rpartition("/")[2]: value for name, value in ours.items() if "gru_0" in name}
    with torch.no_grad():
        for name in ("embed", "head"):
            getattr(peer, name).weight.copy_(ours[f"{name}/kernel"].T)
            getattr(peer, name).bias.copy_(ours[f"{name}/bias"])
        for name in ("position", "series"):
            getattr(peer, name).weight.copy_(ours[f"{name}/embeddings"])
        peer.recurrent.weight_ih_l0.copy_(gates(recurrent["kernel"]).T)
        peer.recurrent.weight_hh_l0.copy_(gates(recurrent["recurrent_kernel"]).T)
        peer.recurrent.bias_ih_l0.copy_(gates(recurrent["bias"][0]))
        peer.recurrent.bias_hh_l0.copy_(gates(recurrent["bias"][1]))
        values, observed, which = (
            torch.from_numpy(batch[name].numpy()).squeeze(-1) for name in ("past", "past_observed", "series")
        )
        given = peer(values, observed, which).numpy()
    np.testing.assert_allclose(given, model(batch).numpy()[..., 0], rtol=1e-4, atol=1e-5)
    assert sum(part.numel() for part in peer.parameters()) == model.count_params()


def test_the_keras_forecaster_has_as_many_parameters(tf):
    from keras_jobs import _forecaster

    model, batch = our_forecaster(tf)
    peer = _forecaster(LOOKBACK, HORIZON, SEGMENT, UNITS, SERIES)
    given = peer((batch["past"][..., 0], batch["past_observed"][..., 0], batch["series"][..., 0]))
    assert given.shape == (5, HORIZON)
    assert peer.count_params() == model.count_params()

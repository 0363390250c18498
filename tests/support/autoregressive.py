"""A small autoregressive forecaster."""

import numpy as np

from trainer.config.train import ModelFlags
from trainer.tasks.forecast.flags import ForecastFlags

LOOKBACK, HORIZON, SEGMENT, UNITS = 12, 6, 2, 5


def make(tf, segment=SEGMENT, cell="gru", features=3, **forecast):
    import keras

    from trainer.tasks.forecast.data.windows import WindowShape
    from trainer.tasks.forecast.model.forecaster import Forecaster

    keras.utils.set_random_seed(1)
    shape = WindowShape(LOOKBACK, HORIZON, 1, features)
    config = ForecastFlags(
        lookback=LOOKBACK, horizon=HORIZON, segment_length=segment, decoder="autoregressive", **forecast
    )
    model = Forecaster(shape, 4, config, ModelFlags(units=UNITS, cell=cell), "float32")
    random = np.random.default_rng(0)
    batch = {
        name: random.normal(size=spec.shape).astype(np.float32)
        for name, spec in shape.signature(4).items()
        if name != "series"
    }
    return model, {
        **batch,
        "past_observed": np.ones_like(batch["past"]),
        "series": np.arange(4, dtype=np.int32)[:, None],
    }

"""`predict` of a forecaster: CSV files with history in, one with forecasts or sample paths out, and a picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from trainer.config.trained_model import PredictConfig
from trainer.dataset.input_files import find_files
from trainer.errors import ConfigError, Problem
from trainer.tasks.forecast import path_predictions, plot, predictions
from trainer.tasks.forecast.flags import ForecastPredictFlags
from trainer.tasks.forecast.predictions import Forecast


def run(
    load: Callable[[], Any], contract: dict[str, Any], config: PredictConfig, to_addresses: Callable[[str], str]
) -> dict[str, Any]:
    """Loads the model once the flags are checked; `to_addresses` makes an address of a local path, for errors.

    Raises:
      ConfigError: flags that do not go together, or not with this model.
      DataError: a file does not fit the model.
      TrainerError: a forecast is not a number.
    """
    if not config.output:
        raise ConfigError([Problem("output", None, "is missing", "name the CSV file to write")])
    path_predictions.check(config, contract)
    files = find_files(config.input)
    model = load()
    started = time.perf_counter()
    if config.of(ForecastPredictFlags).num_samples:
        drawn = path_predictions.sample_paths(model, contract, files, config)
        rows = path_predictions.write_paths(drawn, config.output, len(files) > 1, to_addresses)
        return {"predictions": len(files), "rows": rows, "seconds": round(time.perf_counter() - started, 3)}
    shown: list[Forecast] = []
    forecasts = _keeping(predictions.predict(model, contract, files, config.batch_size), shown, plot.MOST_PANELS)
    rows = predictions.write_csv(forecasts, config.output, len(files) > 1, to_addresses)
    seconds = time.perf_counter() - started
    if config.plot:
        plot.plot(shown, contract["lookback"], config.plot)
    return {"predictions": len(files), "rows": rows, "seconds": round(seconds, 3)}


def _keeping(forecasts: Iterable[Forecast], kept: list[Forecast], most: int) -> Iterator[Forecast]:
    """Passes all on, and keeps the first `most`."""
    for forecast in forecasts:
        if len(kept) < most:
            kept.append(forecast)
        yield forecast

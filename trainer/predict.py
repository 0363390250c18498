"""Predicts with an exported model alone: for a forecaster, CSV files with history in, a CSV file with forecasts out."""

from __future__ import annotations

import time
from typing import Any

from trainer.command import run_command
from trainer.config import PredictConfig
from trainer.data.input_files import find_files
from trainer.errors import DataError
from trainer.serving import forecast_plot, forecast_predictor
from trainer.serving.loaded import find_version, load, read_contract


def main(config: PredictConfig) -> dict[str, Any]:
    path = find_version(config.export_dir)
    contract = read_contract(path)
    if contract.get("task") != "forecast":
        raise DataError(f"{path} was exported for {contract.get('task')}, which this version cannot predict; use the version that wrote it")
    files = find_files(config.input)
    model = load(path)
    started = time.perf_counter()
    forecasts = forecast_predictor.predict(model, contract, files, config.batch_size)
    seconds = time.perf_counter() - started
    rows = forecast_predictor.write_csv(forecasts, config.output)
    if config.plot:
        forecast_plot.plot(forecasts, contract["lookback"], config.plot)
    return {"predictions": len(forecasts), "rows": rows, "seconds": round(seconds, 3), "output": config.output, "model": str(path)}


if __name__ == "__main__":
    run_command("trainer.predict", __doc__ or "", PredictConfig, main)

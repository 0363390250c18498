"""Predicts with an exported model alone: forecasts for CSV files with history, completions for prompts, translations."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from trainer.cli.command import run_command
from trainer.config.trained_model import PredictConfig
from trainer.dataset.input_files import find_files
from trainer.errors import ConfigError, DataError, Problem
from trainer.saved_model.loaded import find_version, load, read_contract
from trainer.saved_model.versions import newest_among
from trainer.storage.workspace import Workspace
from trainer.tasks.forecast import plot as forecast_plot
from trainer.tasks.forecast import predict as forecast_predictor
from trainer.tasks.forecast import predict_paths as path_predictor
from trainer.tasks.forecast.predict import Forecast
from trainer.tasks.language_model import predict as text_predictor
from trainer.tasks.seq2seq import attention_plot
from trainer.tasks.seq2seq import predict as translation_predictor


def main(config: PredictConfig) -> dict[str, Any]:
    with Workspace() as space:
        local = dataclasses.replace(
            config,
            export_dir=space.read(config.export_dir, "export_dir", newest_among),
            input=space.read_files(config.input, "input"),
            output=space.write(config.output, "output"),
            plot=space.write(config.plot, "plot"),
        )
        result: dict[str, Any] = space.told(_predict(local, space.told))
    return result


def _predict(config: PredictConfig, told: Callable[[str], str]) -> dict[str, Any]:
    path = find_version(config.export_dir)
    contract = read_contract(path)
    if contract.get("task") not in PREDICTORS:
        raise DataError(f"{path} was exported for {contract.get('task')}, which this version cannot predict; use the version that wrote it")
    result = PREDICTORS[contract["task"]](str(path), contract, config, told)
    return {**result, "output": config.output or None, "model": str(path)}


def _forecast(path: str, contract: dict[str, Any], config: PredictConfig, told: Callable[[str], str]) -> dict[str, Any]:
    if not config.output:
        raise ConfigError([Problem("output", None, "is missing", "name the CSV file to write")])
    path_predictor.check(config, contract)
    files = find_files(config.input)
    model = load(path, contract)
    started = time.perf_counter()
    if config.num_samples:
        drawn = path_predictor.sample_paths(model, contract, files, config)
        rows = path_predictor.write_paths(drawn, config.output, len(files) > 1, told)
        return {"predictions": len(files), "rows": rows, "seconds": round(time.perf_counter() - started, 3)}
    shown: list[Forecast] = []
    forecasts = _keeping(forecast_predictor.predict(model, contract, files, config.batch_size), shown, forecast_plot.MOST_PANELS)
    rows = forecast_predictor.write_csv(forecasts, config.output, len(files) > 1, told)
    seconds = time.perf_counter() - started
    if config.plot:
        forecast_plot.plot(shown, contract["lookback"], config.plot)
    return {"predictions": len(files), "rows": rows, "seconds": round(seconds, 3)}


def _keeping(forecasts: Iterable[Forecast], kept: list[Forecast], most: int) -> Iterator[Forecast]:
    """Passes all on, and keeps the first `most`."""
    for forecast in forecasts:
        if len(kept) < most:
            kept.append(forecast)
        yield forecast


def _complete(path: str, contract: dict[str, Any], config: PredictConfig, told: Callable[[str], str]) -> dict[str, Any]:
    _check_no_paths(config)
    text_predictor.check(config, contract)
    model = load(path, contract)
    started = time.perf_counter()
    count = text_predictor.predict(model, contract, config)
    return {"predictions": count, "seconds": round(time.perf_counter() - started, 3)}


def _translate(path: str, contract: dict[str, Any], config: PredictConfig, told: Callable[[str], str]) -> dict[str, Any]:
    _check_no_paths(config)
    translation_predictor.check(config, contract)
    sentences = translation_predictor.read_sentences(config)
    model = load(path, contract)
    if config.plot:
        attention_plot.plot(translation_predictor.attend(model, contract, sentences, config), config.plot)
    started = time.perf_counter()
    found = translation_predictor.translate(model, contract, sentences, config)
    seconds = time.perf_counter() - started
    translation_predictor.write(sentences, found, config)
    return {"predictions": len(found), "seconds": round(seconds, 3)}


def _check_no_paths(config: PredictConfig) -> None:
    if config.num_samples:
        raise ConfigError([Problem("num_samples", config.num_samples, "is for forecasts, this is a model of text", "leave it out")])


PREDICTORS = {"forecast": _forecast, "language_model": _complete, "seq2seq": _translate}


if __name__ == "__main__":
    run_command("trainer.predict", __doc__ or "", PredictConfig, main)

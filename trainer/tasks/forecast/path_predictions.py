"""CSV files with history in, a CSV file with sample paths of what may follow out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.config.trained_model import PredictConfig
from trainer.errors import ConfigError, Problem
from trainer.tasks.forecast.data.csv_series import RawSeries
from trainer.tasks.forecast.flags import ForecastPredictFlags
from trainer.tasks.forecast.predictions import answers, future_times, requests, write_steps
from trainer.tasks.requests import check_limit, rows_at_once


@dataclass(frozen=True, eq=False)
class SamplePaths:
    """The paths for one file: `values: [N, H, D]` raw, `times: [H]` Unix seconds or None without dates."""

    history: RawSeries
    values: np.ndarray
    times: np.ndarray | None


def check(config: PredictConfig, contract: dict[str, Any]) -> None:
    """Raises ConfigError for flags of sampling that go with no path, or with a model that draws none."""
    num_samples = config.of(ForecastPredictFlags).num_samples
    if num_samples and not contract["levels"]:
        reason = "needs a probabilistic model, this one forecasts single values"
        raise ConfigError([Problem("num_samples", num_samples, reason, "train one with --output=quantiles")])
    if num_samples:
        check_limit(contract, "num_samples", num_samples)
    if config.seed and not num_samples:
        raise ConfigError(
            [Problem("seed", config.seed, "has no effect without --num_samples", "add --num_samples, or leave it out")]
        )


def sample_paths(
    model: Any, contract: dict[str, Any], paths: list[str], config: PredictConfig
) -> Iterator[SamplePaths]:
    """Draws `--num_samples` paths of what follows the last row of every file, in order; holds those of one batch.

    Raises:
      DataError: a file does not fit the model.
      TrainerError: a path is not a number.
    """
    count = 0
    for part, inputs in requests(contract, paths, rows_at_once(config.batch_size, contract)):
        drawing: dict[str, np.ndarray] = {
            "num_samples": np.array(config.of(ForecastPredictFlags).num_samples, np.int32),
            "seed": np.array(config.seed + count, np.int64),
        }
        for series, answer in answers(model, contract, "sample", part, inputs | drawing):
            yield SamplePaths(series, answer["samples"], future_times(series, contract["horizon"]))
        count += len(part)


def write_paths(
    paths: Iterable[SamplePaths], output: str, several: bool, to_addresses: Callable[[str], str] = str
) -> int:
    """Writes all paths to one CSV file, which appears whole, and gives its number of rows; `to_addresses` gives a file
    the name it has there.

    Columns: `file` where there are `several`, `sample` from 1, `date` (or `step` from 1 without dates), then one a
    series.
    """
    paths = iter(paths)
    first = next(paths)
    blocks = (
        (({"file": to_addresses(one.history.source)} if several else {}) | {"sample": number}, one.times, values)
        for one in itertools.chain([first], paths)
        for number, values in enumerate(one.values, 1)
    )
    return write_steps(blocks, first.history.columns, output)

"""CSV files with history in, a CSV file with the forecasts out."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import DataError, TrainerError
from trainer.storage.atomic_file import atomic_file
from trainer.tasks.forecast.data.csv_series import KnownValues, RawSeries, read_csv
from trainer.tasks.forecast.data.intervals import Interval, advance, format_time
from trainer.tasks.requests import ask, rows_at_once


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The forecast for one file: `values: [H, D]` raw, `times: [H]` Unix seconds or None without dates.

    A probabilistic model has its median there, and `quantiles: [H, D, Q]` raw of `levels` beside it.
    """

    history: RawSeries
    values: np.ndarray
    times: np.ndarray | None
    quantiles: np.ndarray | None = None
    levels: tuple[float, ...] = ()


def read_history(path: str, contract: dict[str, Any]) -> RawSeries:
    """Reads one file and puts its columns into the model's order; other columns are left out.

    Where the model reads columns that are known for the future, the history ends with the last row that has a value to
    go on from, and `known` goes on for the horizon.

    Raises:
      DataError: columns, dates or rows that the model needs are missing.
    """
    interval = Interval(**contract["interval"]) if contract["interval"] else None
    dates = "auto" if interval else "none"
    series = read_csv(path, dates, interval, contract["known_columns"], contract["static_covariates"])
    requested = contract["columns"]
    if missing := [column for column in requested if column not in series.columns]:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; the model forecasts {', '.join(requested)}")
    if contract["needs_times"] and series.times is None:
        raise DataError(f"{path} has no dates, the model reads them; put a date column first")
    order = [series.columns.index(column) for column in requested]
    series = dataclasses.replace(series, columns=tuple(requested), values=series.values[:, order])
    if series.known is not None:
        series = _up_to_now(series, series.known, contract["horizon"])
    if len(series.values) < contract["lookback"]:
        raise DataError(
            f"{path} has {len(series.values)} rows, the model looks back {contract['lookback']}; give more history"
        )
    return series


def _up_to_now(series: RawSeries, known: KnownValues, horizon: int) -> RawSeries:
    """The rows up to the last one with a value, and the known columns up to the end of the horizon."""
    with_values = np.flatnonzero(~np.isnan(series.values).all(axis=1))
    now = int(with_values[-1]) + 1 if len(with_values) else 0
    ahead = known.values[now : now + horizon]
    if len(ahead) < horizon or np.isnan(ahead).any():
        reason = f"has {len(ahead)}" if len(ahead) < horizon else f"has gaps in the {horizon}"
        names = ", ".join(known.columns)
        raise DataError(
            f"{series.source} {reason} rows of {names} after its last value, the model needs {horizon}; add those of "
            "the future"
        )
    times = None if series.times is None else series.times[:now]
    known = KnownValues(known.columns, known.values[: now + horizon])
    return dataclasses.replace(series, values=series.values[:now], times=times, known=known)


def _check_static(series: RawSeries, group: str, contract: dict[str, Any]) -> None:
    """Raises DataError where a file tells other static columns than those that its group was trained with."""
    for name, trained in zip(contract["static_covariates"], contract["static"].get(group, ())):
        if series.static[name] != trained:
            reason = f"{series.source} has {name} {series.static[name]!r}, its group was trained with {trained!r}"
            raise DataError(f"{reason}; correct the column, or train again")


def group_index(path: str, contract: dict[str, Any]) -> int:
    """The series group that a file continues, by its name; a model of one group takes any file."""
    groups = contract["groups"]
    if len(groups) == 1:
        return 0
    if (name := Path(path).stem) not in groups:
        raise DataError(f"{path}: the model knows no group {name}; name the file after one of {', '.join(groups[:10])}")
    return int(groups.index(name))


def predict(model: Any, contract: dict[str, Any], paths: list[str], batch_size: int | None) -> Iterator[Forecast]:
    """Forecasts what follows the last row of every file, in order; holds no more than the files of one batch.

    Raises:
      DataError: a file does not fit the model.
      TrainerError: a forecast is not a number.
    """
    for part, inputs in requests(contract, paths, rows_at_once(batch_size, contract)):
        for series, answer in answers(model, contract, "serving_default", part, inputs):
            times = future_times(series, contract["horizon"])
            yield Forecast(series, answer["forecast"], times, answer.get("quantiles"), tuple(contract["levels"]))


def requests(
    contract: dict[str, Any], paths: list[str], batch_size: int
) -> Iterator[tuple[list[RawSeries], dict[str, np.ndarray]]]:
    """The files' histories, so many at once, and the inputs of `serving_default` that they make.

    Raises:
      DataError: a file does not fit the model.
    """
    groups = np.asarray([group_index(path, contract) for path in paths], np.int32)
    lookback = contract["lookback"]
    for first in range(0, len(paths), batch_size):
        part = [read_history(path, contract) for path in paths[first : first + batch_size]]
        for series, group in zip(part, groups[first:]):
            _check_static(series, contract["groups"][group], contract)
        inputs: dict[str, np.ndarray] = {
            "values": np.stack([series.values[-lookback:] for series in part]).astype(np.float32)
        }
        if contract["needs_times"]:
            inputs["times"] = np.stack([series.times[-lookback:] for series in part if series.times is not None])
        if contract["known_columns"]:
            steps = lookback + contract["horizon"]
            inputs["known"] = np.stack([series.known.values[-steps:] for series in part if series.known is not None])
        if len(contract["groups"]) > 1:
            inputs["group"] = groups[first : first + batch_size]
        yield part, inputs


def answers(
    model: Any, contract: dict[str, Any], signature: str, part: list[RawSeries], inputs: dict[str, np.ndarray]
) -> Iterator[tuple[RawSeries, dict[str, np.ndarray]]]:
    """The outputs of a signature, for each history of a request.

    Raises:
      TrainerError: it is not a number.
    """
    outputs = ask(model, signature, contract, inputs)
    for row, series in enumerate(part):
        answer = {name: value[row] for name, value in outputs.items()}
        if not all(np.isfinite(value).all() for value in answer.values()):
            raise TrainerError(
                f"the forecast for {series.source} is not a number; check its last rows for extreme values"
            )
        yield series, answer


def future_times(series: RawSeries, horizon: int) -> np.ndarray | None:
    """`[H]` Unix seconds of the steps behind a history, None without dates."""
    if series.times is None or series.interval is None:
        return None
    return advance(int(series.times[-1]), horizon, series.interval)


def write_csv(
    forecasts: Iterable[Forecast], output: str, several: bool, to_addresses: Callable[[str], str] = str
) -> int:
    """Writes all forecasts to one CSV file, which appears whole, and gives its number of rows; `to_addresses` gives a
    file the name it has there.

    Columns: `file` where there are `several`, `date` (or `step` from 1 without dates), then one a series; of a
    probabilistic model the median stands there, and behind it `NAME_q0.1` and so on for every level.
    """
    forecasts = iter(forecasts)
    first = next(forecasts)
    names = [[column, *(f"{column}_q{level:g}" for level in first.levels)] for column in first.history.columns]
    everything = itertools.chain([first], forecasts)
    blocks = (
        ({"file": to_addresses(one.history.source)} if several else {}, one.times, _numbers(one)) for one in everything
    )
    return write_steps(blocks, list(itertools.chain(*names)), output)


def write_steps(
    blocks: Iterable[tuple[Mapping[str, object], np.ndarray | None, np.ndarray]], columns: Sequence[str], output: str
) -> int:
    """Writes steps to one CSV file, which appears whole, and gives its number of rows.

    Each block is what stands first in its rows, by column; the times `[H]`, Unix seconds, or None for steps from 1; and
    the numbers `[H, columns]`.
    """
    rows = 0
    with atomic_file(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for first, times, numbers in blocks:
            if not rows:
                writer.writerow([*first, "step" if times is None else "date", *columns])
            for step, row in enumerate(numbers):
                when = step + 1 if times is None else format_time(int(times[step]))
                writer.writerow([*first.values(), when, *map(_shortest, row)])
                rows += 1
    return rows


def _shortest(number: np.floating) -> str:
    """The shortest text that reads back as the same number."""
    return np.format_float_positional(number, unique=True, trim="-")


def _numbers(forecast: Forecast) -> np.ndarray:
    """The columns of the file for each step: `[H, D]`, or `[H, D * (1 + Q)]` with quantiles."""
    if forecast.quantiles is None:
        return forecast.values
    return np.concatenate([forecast.values[..., None], forecast.quantiles], axis=-1).reshape(len(forecast.values), -1)

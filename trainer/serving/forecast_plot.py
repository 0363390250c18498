"""A picture of history and forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.models.levels import pairs
from trainer.whole_file import whole_file

if TYPE_CHECKING:
    from trainer.serving.forecast_predictor import Forecast

MOST_PANELS = 12
HISTORY_PER_HORIZON = 3


def plot(forecasts: list[Forecast], lookback: int, output: str) -> None:
    """Writes a PNG, which appears whole, with one panel a series (the first `MOST_PANELS`): the end of the history, then the forecast.

    Of a probabilistic model, bands between the quantiles that belong together lie behind the median, the widest palest.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(forecast, column) for forecast in forecasts for column in range(len(forecast.history.columns))][:MOST_PANELS]
    columns = 1 if len(panels) < 4 else 2
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(6.5 * columns + 1, 2.2 * rows + 0.6), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (forecast, column) in zip(axes.flat, panels):
        horizon = len(forecast.values)
        shown = min(len(forecast.history.values), max(lookback, HISTORY_PER_HORIZON * horizon))
        past_x, future_x = _axes(forecast, shown)
        past = forecast.history.values[-shown:, column]
        axis.plot(past_x, past, color="#4a5568", linewidth=1.0, label="history")
        joined = np.concatenate([past[-1:], forecast.values[:, column]])  # starts at the last known value
        axis.plot(np.concatenate([past_x[-1:], future_x]), joined, color="#d9480f", linewidth=1.5, label="forecast")
        _bands(axis, forecast, column, future_x)
        axis.axvline(past_x[-1], color="#a0aec0", linewidth=0.8, linestyle=":")
        several = len({f.history.source for f, _ in panels}) > 1
        name = forecast.history.columns[column]
        axis.set_title(f"{forecast.history.name}/{name}" if several else name, loc="left", fontsize=10)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        if forecast.times is not None:
            locator = matplotlib.dates.AutoDateLocator(maxticks=7)  # type: ignore[attr-defined]
            axis.xaxis.set_major_locator(locator)
            axis.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(locator))  # type: ignore[attr-defined]
    axes.flat[0].legend(loc="upper left", fontsize=8, framealpha=0.8)
    with whole_file(output) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def _bands(axis: Any, forecast: Forecast, column: int, x: np.ndarray) -> None:
    """Fills between each pair of quantiles, `a` and `1 - a`."""
    if forecast.quantiles is None:
        return
    bounds = pairs(forecast.levels)
    for rank, (low, high) in enumerate(bounds):
        told = f"{100 * (forecast.levels[high] - forecast.levels[low]):.3g}%" if rank == 0 else None
        edges = forecast.quantiles[:, column, low], forecast.quantiles[:, column, high]
        axis.fill_between(x, *edges, color="#d9480f", alpha=0.4 / len(bounds), linewidth=0, label=told)


def _axes(forecast: Forecast, shown: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of history and forecast: dates, or steps around 0."""
    if forecast.times is None or forecast.history.times is None:
        return np.arange(1 - shown, 1), np.arange(1, len(forecast.values) + 1)
    return forecast.history.times[-shown:].astype("datetime64[s]"), forecast.times.astype("datetime64[s]")

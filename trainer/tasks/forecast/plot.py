"""A picture of history and forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.storage.atomic_file import atomic_file
from trainer.tasks.forecast.model.quantile_levels import pairs

if TYPE_CHECKING:
    from trainer.tasks.forecast.predictions import Forecast

MOST_PANELS = 12
HISTORY_PER_HORIZON = 3
LONGEST_TITLE = 70  # characters
PAST, AHEAD = "#4a5568", "#d9480f"
BAND_ALPHA = 0.4


def plot(forecasts: list[Forecast], lookback: int, output: str) -> None:
    """Writes a PNG, which appears whole, with one panel a series (the first `MOST_PANELS`): the end of the history,
    then the forecast.

    The legend stands above the panels. Of a probabilistic model, bands between the quantiles that belong together lie
    behind the median, the widest palest.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(forecast, column) for forecast in forecasts for column in range(len(forecast.history.columns))][
        :MOST_PANELS
    ]
    columns = 1 if len(panels) < 4 else 2
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(6.5 * columns + 1, 2.2 * rows + 0.6), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    several = len({forecast.history.source for forecast, _ in panels}) > 1
    for axis, (forecast, column) in zip(axes.flat, panels):
        _panel(axis, forecast, column, lookback)
        name = forecast.history.columns[column]
        title = f"{forecast.history.name}/{name}" if several else name
        short = title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"
        axis.set_title(short, loc="left", fontsize=10, parse_math=False)  # a name may hold $
    figure.legend(*_legend(axes.flat[0], forecasts[0]), loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def _panel(axis: Any, forecast: Forecast, column: int, lookback: int) -> None:
    """The end of one column's history and its forecast."""
    from matplotlib import dates, ticker

    horizon = len(forecast.values)
    shown = min(len(forecast.history.values), max(lookback, HISTORY_PER_HORIZON * horizon))
    past_x, future_x = _axes(forecast, shown)
    past = forecast.history.values[-shown:, column]
    axis.plot(past_x, past, color=PAST, linewidth=1.0, label="history")
    lonely = _lonely(past)
    axis.plot(past_x[lonely], past[lonely], color=PAST, linestyle="", marker="o", markersize=2.5)
    joined = np.concatenate([past[-1:], forecast.values[:, column]])  # starts at the last known value
    axis.plot(np.concatenate([past_x[-1:], future_x]), joined, color=AHEAD, linewidth=1.5, label="forecast")
    if horizon == 1:
        axis.plot(future_x, forecast.values[:, column], color=AHEAD, linestyle="", marker="o", markersize=4)
    _bands(axis, forecast, column, future_x, future_x[0] - past_x[-1])
    axis.axvline(past_x[-1], color="#a0aec0", linewidth=0.8, linestyle=":")
    margin = (future_x[-1] - past_x[0]) / 50
    axis.set_xlim(past_x[0] - margin, future_x[-1] + margin)  # a column may have no history to show
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.yaxis.set_major_formatter(ticker.ScalarFormatter(useOffset=False))
    if forecast.times is not None:
        locator = dates.AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    for side in (axis.xaxis, axis.yaxis):
        side.get_offset_text().set_fontsize(8)


def _legend(axis: Any, forecast: Forecast) -> tuple[list[Any], list[str]]:
    """The legend of the lines and, where there are any, the bands of all panels."""
    from matplotlib.patches import Patch

    handles, labels = axis.get_legend_handles_labels()
    if forecast.quantiles is not None and (bounds := pairs(forecast.levels)):
        shares = (f"{100 * (forecast.levels[high] - forecast.levels[low]):.3g}%" for low, high in bounds)
        return [*handles, Patch(color=AHEAD, alpha=BAND_ALPHA, linewidth=0)], [
            *labels,
            f"intervals of {', '.join(shares)}",
        ]
    return handles, labels


def _lonely(values: np.ndarray) -> np.ndarray:
    """Places of the values of `[N]` that have no neighbour, so that no line goes through them."""
    known = np.concatenate([[False], np.isfinite(values), [False]])
    return np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])


def _bands(axis: Any, forecast: Forecast, column: int, x: np.ndarray, step: Any) -> None:
    """Fills between each pair of quantiles, `a` and `1 - a`; half a step wide where the horizon is a single one."""
    if forecast.quantiles is None:
        return
    bounds = pairs(forecast.levels)
    for low, high in bounds:
        edges = [forecast.quantiles[:, column, level] for level in (low, high)]
        if len(x) == 1:
            axis.fill_between(
                [x[0] - step / 4, x[0] + step / 4], *(np.repeat(edge, 2) for edge in edges), **_shade(len(bounds))
            )
        else:
            axis.fill_between(x, *edges, **_shade(len(bounds)))


def _shade(count: int) -> dict[str, Any]:
    """How each of so many bands is filled: together they have `BAND_ALPHA` in the middle."""
    return {"color": AHEAD, "alpha": BAND_ALPHA / count, "linewidth": 0}


def _axes(forecast: Forecast, shown: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of history and forecast: dates, or steps around 0."""
    if forecast.times is None or forecast.history.times is None:
        return np.arange(1 - shown, 1), np.arange(1, len(forecast.values) + 1)
    return forecast.history.times[-shown:].astype("datetime64[s]"), forecast.times.astype("datetime64[s]")

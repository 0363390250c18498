"""Charts as inline SVG: text stays text, colours are classes that a page's style sheet gives for light and for dark.

Classes: `s0` to `s6` colour a series (stroke of a line, fill of a band or a bar), `muted` is for history and
references.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

LEFT, RIGHT, TOP, BOTTOM = 64, 14, 26, 46  # margins around the plot area, pixels
LEAST_SCALE = 0.75  # below that its texts could not be read: a narrow window scrolls
WIDE = (760, 320)
SMALL = (420, 250)
CELL = 26  # pixels of a heat map's cell
LETTER = 8.2  # pixels that a character of a label takes; a digit takes less, a capital may take more
TICK = 7  # pixels between an axis and its labels
LABEL = 24  # pixels that the label of the vertical axis takes
BETWEEN = 8  # pixels between neighbouring labels, at least
LEAST_BAND = 5.0  # pixels to either side of a band of a single point
LONGEST_LABEL = 18
PIXELS_A_TICK = 62


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no `==`
class Line:
    """`x: [N]`, `y: [N]`, broken where y is NaN; `marks` draws a dot at each point, which tells its value when pointed
    at.
    """

    label: str
    style: str
    x: np.ndarray
    y: np.ndarray
    dashed: bool = False
    marks: bool = False


@dataclass(frozen=True, eq=False)
class Band:
    """The area between `low: [N]` and `high: [N]` over `x: [N]`."""

    label: str
    style: str
    x: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Axes:
    """The surroundings of the lines: quantities with their units, and the title above the plot.

    `size` is width and height in pixels; `from_zero` begins the vertical axis at 0 and `top`, which is above it, ends
    it: lines are cut off there; `dates` says that x is Unix seconds.
    """

    x_label: str
    y_label: str
    title: str = ""
    size: tuple[int, int] = WIDE
    from_zero: bool = False
    top: float | None = None
    dates: bool = False


def line_chart(lines: Sequence[Line], axes: Axes, bands: Sequence[Band] = (), rule: float | None = None) -> Markup:
    """At least one line, with at least one number, over the bands in their order; `rule` is the x of a vertical line.

    Raises:
      ValueError: there is no finite number to draw.
    """
    xs = np.concatenate([*(line.x for line in lines), *(band.x for band in bands)])
    ys = np.concatenate([*(line.y for line in lines), *(side for band in bands for side in (band.low, band.high))])
    low, high = _limits(ys, margin=0.06, from_zero=axes.from_zero)
    plot = _Plot(axes.size, _limits(xs, margin=0.0), (low, high if axes.top is None else axes.top))
    parts = [plot.axes(axes, whole=bool((xs == np.round(xs)).all()))]
    for band in bands:
        parts.append(plot.band(band))
    if rule is not None:
        x = plot.x(rule)
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{plot.top}" y2="{plot.bottom}"/>')
    parts += [plot.line(line, math.inf if axes.top is None else axes.top) for line in lines]
    return _svg(axes.size, axes.title or f"{axes.y_label} over {axes.x_label}", "".join(parts))


def bar_chart(
    labels: Sequence[str], values: Sequence[float], x_label: str, y_label: str, size: tuple[int, int] = WIDE
) -> Markup:
    """One bar a label, its value above it."""
    heights = np.asarray(values, np.float64)
    plot = _Plot(size, (-0.5, len(labels) - 0.5), _limits(heights, margin=0.1, from_zero=True))
    parts = [plot.frame(x_label, y_label, "")]
    for place, (label, value) in enumerate(zip(labels, heights)):
        left, right, y, zero = plot.x(place - 0.36), plot.x(place + 0.36), plot.y(value), plot.y(0.0)
        middle = (left + right) / 2
        parts.append(
            f'<rect class="bar s0" x="{left:.1f}" y="{min(y, zero):.1f}" width="{right - left:.1f}" '
            f'height="{abs(zero - y):.1f}"/>'
        )
        parts.append(
            f'<text class="value" x="{middle:.1f}" y="{y - 5:.1f}" text-anchor="middle">{_number(value)}</text>'
        )
        parts.append(f'<text x="{middle:.1f}" y="{plot.bottom + 17}" text-anchor="middle">{escape(label)}</text>')
    return _svg(size, f"{y_label} by {x_label}", "".join(parts))


def heat_map(weights: np.ndarray, rows: Sequence[str], columns: Sequence[str], x_label: str, y_label: str) -> Markup:
    """`weights: [R, C]` from 0 to 1 as opacity, with a label for every row and column."""
    rows, columns = ([_short(label) for label in side] for side in (rows, columns))
    left = 40 + LETTER * max(map(len, rows))
    top = 40 + LETTER * max(map(len, columns))
    size = (round(left + CELL * len(columns) + 20), round(top + CELL * len(rows) + 12))
    parts = [f'<text class="label" x="{left}" y="14">{escape(x_label)}</text>']
    middle = top + CELL * len(rows) / 2
    parts.append(
        f'<text class="label" transform="translate(14 {middle:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for column, label in enumerate(columns):
        x = left + CELL * (column + 0.5) + 4
        parts.append(f'<text transform="translate({x:.1f} {top - 7:.1f}) rotate(-90)">{escape(label)}</text>')
    for row, label in enumerate(rows):
        y = top + CELL * row
        parts.append(f'<text x="{left - 7:.1f}" y="{y + CELL / 2 + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        for column, other in enumerate(columns):
            value = float(np.clip(weights[row, column], 0, 1))
            parts.append(
                f'<rect class="cell" x="{left + CELL * column:.1f}" y="{y:.1f}" width="{CELL}" height="{CELL}" '
                f'fill-opacity="{value:.3f}">'
                f"<title>{escape(label)} from {escape(other)}: {value:.2f}</title></rect>"
            )
    return _svg(size, f"{y_label} against {x_label}", "".join(parts))


class _Plot:
    """Data coordinates to pixels, and the axes around them."""

    def __init__(self, size: tuple[int, int], x_limits: tuple[float, float], y_limits: tuple[float, float]):
        self._x, self._y, self._width = x_limits, y_limits, size[0]
        self._y_ticks = _ticks(*y_limits, 6)
        widest = max((len(text) for text in self._y_ticks[1]), default=0)
        self.left, self.right = max(LEFT, round(LABEL + TICK + LETTER * widest)), size[0] - RIGHT
        self.top, self.bottom = TOP, size[1] - BOTTOM

    def x(self, value: float) -> float:
        low, high = self._x
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self._y
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def points(self, x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(f"{self.x(float(a)):.1f},{self.y(float(b)):.1f}" for a, b in zip(x, y) if math.isfinite(b))

    def band(self, band: Band) -> str:
        """The outline, which has some width where there is a single point."""
        x, low, high = band.x, band.low, band.high
        if len(x) == 1:
            spare = LEAST_BAND / (self.right - self.left) * (self._x[1] - self._x[0])
            x, low, high = np.array([x[0] - spare, x[0] + spare]), np.repeat(low, 2), np.repeat(high, 2)
        outline = self.points(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
        return f'<polygon class="band {band.style}" points="{outline}"/>'

    def line(self, line: Line, top: float) -> str:
        """One path for each stretch without gaps, up to `top`, and a dot where there is no stretch to draw."""
        cut = _cut_off(line, top)
        borders = np.flatnonzero(np.diff(np.concatenate([[False], np.isfinite(cut.y), [False]]))).reshape(-1, 2)
        dash = " dashed" if line.dashed else ""
        parts = [
            f'<polyline class="line {line.style}{dash}" points="{self.points(cut.x[first:end], cut.y[first:end])}"/>'
            for first, end in borders
        ]
        lonely = [(cut.x[first], cut.y[first]) for first, end in borders if end - first == 1]
        for x, y in zip(line.x, line.y) if line.marks else lonely:
            if math.isfinite(y) and y <= top:
                place = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}"'
                parts.append(
                    f'<circle class="dot {line.style}" {place} r="3"><title>{escape(line.label)}: '
                    f"{_number(y)}</title></circle>"
                )
        return "".join(parts)

    def axes(self, axes: Axes, whole: bool) -> str:
        """Both axes; `whole` keeps the ticks of x to whole numbers."""
        count = max(2, (self.right - self.left) // PIXELS_A_TICK)
        ticks, texts, note = _date_ticks(*self._x, count) if axes.dates else (*_ticks(*self._x, count, whole), "")
        places = [self._label_x(tick, text) for tick, text in zip(ticks, texts)]
        while _overlap(places, texts):  # then every other one, days before their hours
            first = int(sum(map(len, texts[1::2])) > sum(map(len, texts[::2])))
            ticks, texts, places = ticks[first::2], texts[first::2], places[first::2]
        parts = [self.frame(f"{axes.x_label} ({note})" if note else axes.x_label, axes.y_label, axes.title)]
        for tick, text, place in zip(ticks, texts, places):
            x = self.x(tick)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self.top}" y2="{self.bottom}"/>')
            parts.append(f'<text x="{place:.1f}" y="{self.bottom + 17}" text-anchor="middle">{escape(text)}</text>')
        return "".join(parts)

    def _label_x(self, tick: float, text: str) -> float:
        """Below the tick, but within the picture."""
        return min(self.x(tick), self._width - LETTER * len(text) / 2)

    def frame(self, x_label: str, y_label: str, title: str) -> str:
        """The vertical axis, both labels and the title."""
        parts = []
        for tick, text in zip(*self._y_ticks):
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{self.left - TICK}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
        parts.append(f'<line class="axis" x1="{self.left}" x2="{self.right}" y1="{self.bottom}" y2="{self.bottom}"/>')
        across, down = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        parts.append(
            f'<text class="label" x="{across:.1f}" y="{self.bottom + 38}" text-anchor="middle">{escape(x_label)}</text>'
        )
        parts.append(
            f'<text class="label" transform="translate(14 {down:.1f}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_label)}</text>'
        )
        if title:
            parts.append(f'<text class="title" x="{self.left}" y="15">{escape(title)}</text>')
        return "".join(parts)


def _svg(size: tuple[int, int], label: str, content: str) -> Markup:
    """`content` is markup whose texts are escaped."""
    width, height = size
    style = f"max-width:{width}px;min-width:{round(LEAST_SCALE * width)}px"
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" style="{style}" role="img" aria-label="{escape(label)}">{content}</svg>'
    )


def _limits(values: np.ndarray, margin: float, from_zero: bool = False) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("there is no finite number to draw")
    low, high = float(finite.min()), float(finite.max())
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if from_zero and low == high == 0:
        return 0.0, 1.0
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    spare = margin * (high - low)
    return (low if from_zero and low == 0 else low - spare), high + spare


def _ticks(low: float, high: float, count: int, whole: bool = False) -> tuple[list[float], list[str]]:
    """At most `count` round (or whole) numbers from `low` to `high`, and how they are written."""
    from matplotlib.ticker import MaxNLocator

    candidates = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(low, high)
    slack = 1e-9 * (high - low)
    ticks = [float(tick) for tick in candidates if low - slack <= tick <= high + slack and not (whole and tick % 1)]
    largest = max((abs(tick) for tick in ticks), default=0.0)
    step = float(candidates[1] - candidates[0])
    if whole:
        return ticks, [f"{tick:,.0f}" if largest < 1e7 else f"{tick:.6g}" for tick in ticks]
    if largest >= 1e7 or step < 1e-5:
        return ticks, [f"{tick:.6g}" for tick in ticks]
    decimals = next(d for d in range(8) if abs(round(step, d) - step) < 1e-6 * step)
    return ticks, [f"{tick:,.{decimals}f}" for tick in ticks]


def _date_ticks(low: float, high: float, count: int) -> tuple[list[float], list[str], str]:
    """Ticks at round times (UTC), as short as the reader can tell them, and what they leave out."""
    from matplotlib import dates

    locator = dates.AutoDateLocator(maxticks=count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it may find too many, of which some are left out
        candidates = locator.tick_values(*(dates.num2date(second / 86_400) for second in (low, high)))
    formatter = dates.ConciseDateFormatter(locator)
    texts = formatter.format_ticks(list(candidates))
    seconds = [float(tick) * 86_400 for tick in candidates]
    shown = [(second, text) for second, text in zip(seconds, texts) if low <= second <= high]
    return [second for second, _ in shown], [text for _, text in shown], formatter.get_offset()


def _overlap(places: Sequence[float], texts: Sequence[str]) -> bool:
    """Whether any two neighbours of labels centred there are too near."""
    ends = [(place - LETTER * len(text) / 2, place + LETTER * len(text) / 2) for place, text in zip(places, texts)]
    return any(after[0] < before[1] + BETWEEN for before, after in itertools.pairwise(ends))


def _cut_off(line: Line, top: float) -> Line:
    """The line up to `top`: where it crosses that, it ends or begins; above there is nothing."""
    x, y = [], []
    for index, (x_here, y_here) in enumerate(zip(line.x, line.y)):
        if index and (line.y[index - 1] - top) * (y_here - top) < 0:
            share = (top - line.y[index - 1]) / (y_here - line.y[index - 1])
            x.append(line.x[index - 1] + share * (x_here - line.x[index - 1]))
            y.append(top)
        x.append(x_here)
        y.append(y_here if y_here <= top else np.nan)
    return dataclasses.replace(line, x=np.array(x, np.float64), y=np.array(y, np.float64))


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:.4g}"


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"

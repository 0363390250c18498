"""The parts of a report: tasks fill these in, the page sets them. Plain data, no markup but that of the charts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """Charts with one legend, pairs of a chart's class and what it stands for, and a caption that says what is shown
    and counted.
    """

    title: str
    charts: tuple[Markup, ...]
    caption: str
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """`texts` keeps the line breaks of cells and sets them as quotations."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    texts: bool = False


@dataclass(frozen=True)
class Section:
    title: str
    parts: tuple[Figure | Table, ...]


@dataclass(frozen=True)
class Meaning:
    """The meaning of some scores, and their units: names, in which `*` stands for any characters, and the words."""

    scores: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Headline:
    """The score that sums a model up: its key among the metrics, its name with the unit, what is counted, and its
    direction.

    `meanings` are of all scores that the task may tell, `baselines` says what the others are, where there are any.
    """

    metric: str
    name: str
    counted: str
    higher_is_better: bool
    meanings: tuple[Meaning, ...] = ()
    baselines: str = ""


@dataclass(frozen=True)
class Evaluation:
    """A task's scores of a model, and the sections of its report.

    `scores` is JSON: `count`, `metrics`, `baselines` and more. `sections` makes what only a report shows, which may
    take time.
    """

    scores: dict[str, Any]
    headline: Headline
    sections: Callable[[], list[Section]]


def ranked_places(count: int) -> list[tuple[str, int]]:
    """Places of the best, the median and the worst among `count` things in order, each place once."""
    places = {count // 2: "median", count - 1: "worst", 0: "best"} if count else {}
    return [(rank, place) for place, rank in sorted(places.items())]

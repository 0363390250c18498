"""Charts: pixels against plain arithmetic, gaps, round ticks, escaped labels."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from trainer.reports.svg_charts import Axes, Band, Line, bar_chart, heat_map, line_chart


def parsed(svg):
    return ElementTree.fromstring(str(svg))


def texts(svg):
    return [element.text for element in parsed(svg).iter("text")]


def coordinates(points):
    return np.array([[float(number) for number in pair.split(",")] for pair in points.split()])


def test_a_line_lies_where_its_axis_says():
    """The position of every point, read back from the ticks around it."""
    x, y = np.arange(5.0), np.array([0.0, 3.0, 1.0, 4.0, 2.0])
    svg = parsed(line_chart([Line("a", "s0", x, y)], Axes("x", "y", size=(400, 300), from_zero=True)))
    found = coordinates(svg.find("polyline").get("points"))
    ticks = {}
    for element in svg.iter("text"):
        if re.fullmatch(r"[\d.]+", element.text or ""):
            axis = "y" if element.get("text-anchor") == "end" else "x"
            ticks[axis, float(element.text)] = float(element.get(axis)) - (4 if axis == "y" else 0)
    for axis, column, values in (("x", 0, x), ("y", 1, y)):
        known = sorted((value, place) for (own, value), place in ticks.items() if own == axis)
        assert len(known) >= 3
        shown, places = zip(*known)
        np.testing.assert_allclose(found[:, column], np.interp(values, shown, places), atol=0.11)


def test_gaps_break_a_line_and_a_lonely_point_is_a_dot():
    y = np.array([1.0, 2.0, np.nan, 3.0, np.nan, 4.0, 5.0])
    svg = parsed(line_chart([Line("a", "s0", np.arange(7.0), y)], Axes("x", "y")))
    assert [len(line.get("points").split()) for line in svg.iter("polyline")] == [2, 1, 2]
    assert [dot.find("title").text for dot in svg.iter("circle")] == ["a: 3"]


def test_a_band_goes_along_its_low_side_and_back_along_its_high_one():
    x = np.arange(3.0)
    svg = parsed(line_chart([Line("m", "s0", x, x)], Axes("x", "y"), [Band("80%", "s0", x, x - 1, x + 1)]))
    outline = coordinates(svg.find("polygon").get("points"))
    assert (outline[:3, 0] == outline[:2:-1, 0]).all() and (outline[:3, 1] > outline[:2:-1, 1]).all()


def test_ticks_are_round_dates_are_short_and_steps_are_whole():
    shown = texts(line_chart([Line("a", "s0", np.arange(2.0), np.array([0.1, 1.0]))], Axes("x", "y")))
    assert {"0.2", "0.4", "0.6", "0.8", "1.0"} <= set(shown)
    whole = texts(line_chart([Line("a", "s0", np.arange(1, 4), np.ones(3))], Axes("origin", "y")))
    assert not {"1.5", "2.5"} & set(whole)
    begin = np.datetime64("2021-03-01T00:00").astype("datetime64[s]").astype(np.int64)
    dated = texts(
        line_chart(
            [Line("a", "s0", begin + 3600.0 * np.arange(73), np.arange(73.0))], Axes("time (UTC)", "y", dates=True)
        )
    )
    assert any("2021-Mar" in text for text in dated) and "Mar-02" in dated


def test_a_chart_of_nothing_is_refused():
    with pytest.raises(ValueError):
        line_chart([Line("a", "s0", np.arange(3.0), np.full(3, np.nan))], Axes("x", "y"))


def test_labels_are_text_and_never_markup():
    evil = '</svg><script>alert("x")</script>'
    charts = [
        line_chart([Line(evil, "s0", np.arange(2.0), np.arange(2.0), marks=True)], Axes(evil, evil, evil)),
        bar_chart([evil], [1.0], evil, evil),
        heat_map(np.ones((1, 1)), [evil], [evil], evil, evil),
    ]
    for chart in charts:
        assert "<script" not in chart
        assert not list(parsed(chart).iter("script"))


def test_a_heat_map_has_a_cell_for_every_weight():
    weights = np.array([[0.25, 0.75], [1.0, 0.0]])
    cells = list(parsed(heat_map(weights, ["r", "s"], ["a", "b"], "x", "y")).iter("rect"))
    assert [float(cell.get("fill-opacity")) for cell in cells] == weights.reshape(-1).tolist()
    assert cells[1].find("title").text == "r from b: 0.75"


def test_bars_are_as_high_as_their_values():
    bars = [float(bar.get("height")) for bar in parsed(bar_chart(["a", "b"], [10.0, 20.0], "x", "y")).iter("rect")]
    assert bars[1] == pytest.approx(2 * bars[0], abs=0.2)


def test_a_line_is_cut_off_at_the_top_of_its_axis():
    x, y = np.arange(5.0), np.array([0.0, 1.0, 3.0, 1.0, 0.5])
    axes = Axes("x", "y", size=(400, 300), from_zero=True, top=2.0)
    svg = parsed(line_chart([Line("a", "s0", x, y, marks=True)], axes))
    found = [coordinates(line.get("points")) for line in svg.iter("polyline")]
    assert [len(part) for part in found] == [3, 3]
    highest, lowest = found[0][-1], found[0][0]
    assert highest[1] == found[1][0][1] == min(part[:, 1].min() for part in found) == 26  # the top margin
    step = (found[1][-1][0] - lowest[0]) / 4
    assert highest[0] == pytest.approx(lowest[0] + 1.5 * step, abs=0.1)  # half way from 1 to 3
    assert [dot.find("title").text for dot in svg.iter("circle")] == ["a: 0", "a: 1", "a: 1", "a: 0.5"]


def test_a_band_of_one_step_can_be_seen():
    one = np.array([1.0])
    svg = parsed(
        line_chart(
            [Line("m", "s0", np.arange(3.0), np.arange(3.0))],
            Axes("x", "y"),
            [Band("80%", "s0", one, one - 1, one + 1)],
        )
    )
    outline = coordinates(svg.find("polygon").get("points"))
    assert np.ptp(outline[:, 0]) >= 5 and np.ptp(outline[:, 1]) > 50


def test_bars_of_nothing_stand_on_the_axis():
    svg = bar_chart(["a", "b"], [0.0, 0.0], "x", "y")
    assert {float(bar.get("height")) for bar in parsed(svg).iter("rect")} == {0.0} and "-0.2" not in texts(svg)


def boxes(svg):
    """Left and right end of every label of an axis, as wide as Pillow sets it in DejaVu Sans of 12 pixels."""
    from matplotlib import font_manager
    from PIL import ImageFont

    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 12)
    for element in parsed(svg).iter("text"):
        if element.get("class") is None and element.get("transform") is None:
            width, x = font.getlength(element.text), float(element.get("x"))
            left = x - (width if element.get("text-anchor") == "end" else width / 2)
            yield element.get("text-anchor"), left, left + width, float(element.get("y"))


@pytest.mark.parametrize("size", [(420, 250), (760, 320)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 12345.678, 3e6, 2.8e7, -4e12])
def test_labels_of_axes_do_not_overlap(size, scale):
    hours = np.datetime64("2016-09-12T07:00").astype("datetime64[s]").astype(np.float64)
    for steps in (2, 3, 48, 96, 2000):
        for x, dates in (
            (np.arange(1.0 - steps, 1), False),
            (1e6 * np.arange(1.0, steps + 1), False),
            (hours + 3600.0 * np.arange(steps), True),
            (hours + 60.0 * np.arange(steps), True),
            (hours + 2.6e6 * np.arange(steps), True),
        ):
            svg = line_chart(
                [Line("a", "s0", x, scale * np.linspace(0.9, 1.3, steps))],
                Axes("time", "value", size=size, dates=dates),
            )
            found = list(boxes(svg))
            below = sorted((left, right) for anchor, left, right, _ in found if anchor == "middle")
            assert below and all(one[1] < other[0] for one, other in itertools.pairwise(below)), (steps, dates)
            assert below[0][0] >= 0 and below[-1][1] <= size[0]
            assert min(left for anchor, left, _, _ in found if anchor == "end") >= 20  # beside the label of the axis

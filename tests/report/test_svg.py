"""Marks stand where their values say, by hand."""

import re
import xml.etree.ElementTree as ET

import pytest

from inarch.report._draw import shorten, ticks
from inarch.report._svg import Line, Row, dots, heat, inline, lines

WHAT = ("name", "title", "alt")


@pytest.mark.parametrize(
    ("low", "high", "beyond", "expected"),
    [
        (0, 100, False, [0, 25, 50, 75, 100]),  # a quarter is 25
        (0, 7.9, False, [0, 2, 4, 6]),  # a quarter is 1.98, the next round number 2
        (0, 7.9, True, [0, 2, 4, 6, 8]),
        (0, 8, True, [0, 2, 4, 6, 8]),
        (-14.2, 9.7, False, [-10, 0]),  # a quarter is 6
        (0.0, 0.003, True, [0, 0.001, 0.002, 0.003]),  # a quarter is 0.00075
        (0, 0, True, [0]),
    ],
)
def test_ticks(low, high, beyond, expected):
    assert ticks(low, high, beyond) == pytest.approx(expected)


def test_a_dot_stands_at_its_value_and_the_bar_at_the_mean():
    body = parse(dots(WHAT, [Row("a", (0.0, 100.0, 20.0))], (0.0, 100.0), "{:.0f}".format))
    # the axis goes from 6 to 314: 0 at 6, 20 at 6 + 0.2 * 308 = 67.6, 100 at 314; the mean is 40
    assert [c.get("cx") for c in body.iter("circle")] == ["6", "314", "67.6"]
    (mean,) = [x for x in body.iter("line") if x.get("class") == "mean quiet"]
    assert (mean.get("x1"), mean.get("x2")) == ("129.2", "129.2")
    assert [t.text for t in body.iter("text")][-2:] == ["a", "40"]


def test_zero_is_marked_where_it_is():
    body = parse(dots(WHAT, [Row("a", (-1.0,))], (-2.0, 2.0), str))
    (zero,) = [x for x in body.iter("line") if x.get("class") == "zero"]
    assert zero.get("x1") == "160"


def test_a_line_goes_through_its_points():
    drawn = [Line("grey", ((0.0, 8.0), (20.0, 8.0)), strong=False), Line("", ((5.0, 4.0), (20, 0)))]
    body = parse(lines(WHAT, drawn, "axis", 8.0))
    # steps 0 ... 20 from 40 to 312, values 0 ... 8 from 176 up to 26
    grey, own = body.iter("polyline")
    assert grey.get("points") == "40,26 312,26"
    assert own.get("points") == "108,101 312,176"
    assert "context" in grey.get("class")
    assert "grey" not in [t.text for t in body.iter("text")]


def test_names_at_the_ends_of_lines_do_not_touch():
    drawn = [
        Line(name, ((0.0, 1.0), (1.0, value)))
        for name, value in (("a", 3), ("b", 3.01), ("c", 3.02))
    ]
    body = parse(lines(WHAT, drawn, "axis", 4.0))
    heights = {t.text: float(t.get("y")) for t in body.iter("text") if t.text in "abc"}
    assert heights["c"] + 15 == pytest.approx(heights["b"])
    assert heights["b"] + 15 == pytest.approx(heights["a"])


def test_a_cell_is_the_darker_the_larger_its_share():
    body = parse(heat(WHAT, ["r"], ["a", "b", "c"], [[0.0, 1.0, None]]))
    shades = [rect.get("fill-opacity") for rect in body.iter("rect")]
    assert shades == ["0.040", "0.600", "0.040"]
    assert [t.text for t in body.iter("text")] == ["a", "b", "c", "r", "0", "100", "–"]


def test_a_name_that_is_cut_keeps_its_full_form_in_a_title():
    name = "a name that is far too long for a cell"
    body = parse(heat(WHAT, ["r"], [name], [[1.0]])), parse(heat(WHAT, [name], ["c"], [[1.0]]))
    assert [t.text for t in body[1].iter("title")] == [name]
    assert not list(body[0].iter("title"))  # one column has all the width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 100, "short"),
        ("x" * 20, 67, "x" * 9 + "…"),  # 6.6 each: ten fit, one makes room for the ellipsis
        ("树" * 20, 65, "树" * 4 + "…"),  # 12.6 each: five fit
        ("", 10, ""),
    ],
)
def test_names_are_cut_to_their_width(text, width, expected):
    assert shorten(text, width) == expected


def parse(figure):
    (svg,) = re.findall(r"<svg .*</svg>", inline(figure), re.S)
    return ET.fromstring(svg)

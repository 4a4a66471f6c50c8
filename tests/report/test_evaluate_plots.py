"""Means, bars and points of evaluations stand where their numbers say, by hand."""

import re
import xml.etree.ElementTree as ET

import pytest

from inarch.report._evaluate_lengths import Axes, Point, over_length
from inarch.report._evaluate_plots import Bar, Span, category_bars, spans
from inarch.report._svg import inline

WHAT = ("name", "title", "alt")


def parse(figure):
    (svg,) = re.findall(r"<svg .*</svg>", inline(figure), re.S)
    return ET.fromstring(svg)


def lines(body, kind):
    """The ends of the lines of a class: x1, x2, y1, y2."""
    found = [e for e in body.iter("line") if e.get("class") == kind]
    return [tuple(float(e.get(k)) for k in ("x1", "x2", "y1", "y2")) for e in found]


def dots(body, kind):
    found = [e for e in body.iter("circle") if e.get("class") == kind and e.get("cx") != "8"]
    return [(float(e.get("cx")), float(e.get("cy"))) for e in found]


def words(body):
    return [(e.text or e[0].tail, e.get("x"), e.get("y")) for e in body.iter("text")]


def test_spans_by_hand():
    rows = [Span("a", 75.0, 50.0, 100.0), Span("b", 25.0, 20.0, 30.0, strong=False)]
    body = parse(spans(WHAT, rows, (0.0, 100.0), "{:.1f}".format))
    # The axis goes from 6 to 314: 3.08 a point; rows are 38 high, their lines at 26 and 64.
    assert dots(body, "strong") == [(237.0, 26.0)]
    assert dots(body, "quiet") == [(83.0, 64.0)]
    assert lines(body, "interval strong") == [(160.0, 314.0, 26.0, 26.0)]
    assert lines(body, "interval quiet") == [(67.6, 98.4, 64.0, 64.0)]
    assert ("75.0", "320", "14") in words(body)
    assert ("b", "0", "52") in words(body)
    assert [t.text for t in body.iter("title")] == [
        "a: 75.0 (50.0 to 100.0)",
        "b: 25.0 (20.0 to 30.0)",
    ]
    assert "zero" not in {e.get("class") for e in body.iter("line")}


def test_the_middle_has_a_line_and_a_number_of_its_own():
    row = Span("a", 45.0, 41.0, 79.0)
    body = parse(spans(WHAT, [row], (40.0, 80.0), str, middle=55.0))
    # 15 of 40 from the left: 6 + .375 * 308; the ticks 40, 50, ... are 77 apart, so 55 has room.
    assert [x for x, *_ in lines(body, "zero")] == [121.5]
    assert ("55", "121.5", "54") in words(body)
    assert [w for w, _, y in words(body) if y == "54"] == ["40", "50", "60", "70", "80", "55"]
    near = parse(spans(WHAT, [row], (40.0, 80.0), str, middle=52.0))
    assert len(lines(near, "zero")) == 1  # but no number on top of that of 50
    assert "52" not in [w for w, *_ in words(near)]
    assert not lines(parse(spans(WHAT, [row], (40.0, 80.0), str, middle=39.0)), "zero")


def test_category_bars_by_hand():
    rows = [Bar("math", 5.5, 3.25, 7.75, 10.0), Bar("a name of many letters", 1.0, 1.0, 1.0, 1.0)]
    body = parse(category_bars(WHAT, rows, (1.0, 10.0), "{:.2f}".format))
    boxes = [(r.get("x"), float(r.get("width")), r.get("y")) for r in body.iter("rect")]
    # Bars go from 104, a rating of 1, to 266, one of 10: 18 a point.
    assert boxes == [("104", 81.0, "2"), ("104", 0.0, "26")]
    assert lines(body, "thin whisker")[0] == (144.5, 225.5, 9.5, 9.5)
    assert lines(body, "mean best") == [(266.0, 266.0, 0.0, 19.0), (104.0, 104.0, 24.0, 43.0)]
    assert "".join(list(body.iter("text"))[2].itertext()).startswith("a name of many lettersa name")
    assert [w for w, *_ in words(body)][-2:] == ["1", "10"]


def test_points_over_length_by_hand():
    points = [Point("long <b>", 2000.0, 60.0, 40.0), Point("short", 500.0, 20.0, None)]
    axes = Axes("win rate, %", "length-controlled, %", (0.0, 100.0), 1000.0, "{:.1f}".format)
    body = parse(over_length(WHAT, points, axes))
    # Lengths from 40 to 306, 0 to 2,000: .133 a character; scores from 234 up to 34: 2 a point.
    assert dots(body, "strong") == [(306.0, 114.0), (106.5, 194.0)]
    assert dots(body, "few") == [(306.0, 154.0)]
    assert lines(body, "span strong") == [(306.0, 306.0, 114.0, 154.0)]
    assert [x for x, *_ in lines(body, "curve line2")] == [173.0]
    told = [t.text for t in body.iter("title")]
    assert told[0] == "long <b>: 60.0 with 2,000 characters; length-controlled, % 40.0"
    key = [w for w, x, _ in words(body) if x == "22"]
    assert key == ["win rate, %", "length-controlled, %", "long <b>", "short"]


def test_lengths_that_are_much_alike_begin_later():
    points = [Point("a", 1000.0, 50.0, None), Point("b", 1500.0, 50.0, None)]
    body = parse(over_length(WHAT, points, Axes("s", "c", (0.0, 100.0), None, str)))
    # A fifth of 500 is free on both sides: from 900 to 1,600, .38 a character.
    assert dots(body, "strong") == [(78.0, 134.0), (268.0, 134.0)]
    assert ("1,200", "154", "251") in words(body)


def test_no_ring_without_control_and_no_line_without_baseline():
    body = parse(
        over_length(WHAT, [Point("a", 10.0, 5.0, None)], Axes("s", "c", (0.0, 10.0), None, str))
    )
    assert not dots(body, "few")
    assert not lines(body, "curve line2")
    assert [w for w, x, _ in words(body) if x == "22"] == ["s", "a"]


@pytest.mark.parametrize("apart", [0.0, 20.0])
def test_numbers_of_points_do_not_touch(apart):
    points = [Point(f"m{n}", 1000.0 + apart * n, 50.0 + 3 * (n % 2), None) for n in range(6)]
    body = parse(over_length(WHAT, points, Axes("s", "c", (0.0, 100.0), 1000.0, str)))
    places = [(float(x), float(y)) for w, x, y in words(body) if w in set("123456") and x != "4"]
    assert len(places) == 6
    boxes = [(x, y - 9, x + 6.5, y) for x, y in places]
    boxes += [(x - 4.5, y - 4.5, x + 4.5, y + 4.5) for x, y in dots(body, "strong")]
    for i, a in enumerate(boxes[:6]):
        assert 40 <= a[0] < a[2] <= 320
        others = boxes[:i] + boxes[i + 1 :]
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in others)


@pytest.mark.parametrize("figure", [spans, category_bars])
def test_no_rows(figure):
    assert not list(parse(figure(WHAT, [], (0.0, 1.0), str)).iter("circle"))

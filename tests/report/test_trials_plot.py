"""Trials stand at their scores, by hand."""

import re
import xml.etree.ElementTree as ET

from inarch.report._svg import inline
from inarch.report._trials_plot import trials

WHAT = ("name", "title", "alt")


def parse(figure):
    (svg,) = re.findall(r"<svg .*</svg>", inline(figure), re.S)
    return ET.fromstring(svg)


def places(body, name="circle", keys=("cx", "cy")):
    return [tuple(float(found.get(key)) for key in keys) for found in body.iter(name)]


def test_dots_and_the_best_so_far():
    points = ((0.0, 4.0), (1.0, 5.0), (2.0, 3.0), (4.0, 4.0))
    body = parse(trials(WHAT, points, [], "bits", lower_is_better=True))
    # numbers 0 ... 4 from 46 to 242; scores 3 ... 5 from 172 up to 30, 71 each
    assert places(body) == [(46, 101), (95, 30), (144, 172), (242, 101)]
    (best,) = body.iter("polyline")
    assert best.get("points") == "46,101 95,101 95,101 144,101 144,172 242,172 242,172"
    assert [dot.get("class") for dot in body.iter("circle")] == [
        "quiet",
        "quiet",
        "strong",
        "quiet",
    ]
    assert [t.text for t in body.iter("title")][2] == "trial 2: 3.0000"


def test_where_more_is_better_the_line_goes_up():
    points = ((0.0, 0.2), (1.0, 0.1), (2.0, 0.3))
    body = parse(trials(WHAT, points, [], "share", lower_is_better=False))
    # .1 ... .3 from 172 up to 30
    assert places(body) == [(46, 101), (144, 172), (242, 30)]
    (best,) = body.iter("polyline")
    assert best.get("points") == "46,101 144,101 144,101 242,101 242,30"
    assert [dot.get("class") for dot in body.iter("circle")] == ["quiet", "quiet", "strong"]


def test_inputs_are_lines_with_names_that_keep_apart():
    points = ((0.0, 3.0), (1.0, 5.0))
    inputs = [("low", 4.0), ("high", 4.01), ("far", 1e6)]
    body = parse(trials(WHAT, points, inputs, "bits", lower_is_better=True))
    lines = [line for line in body.iter("line") if line.get("class") == "zero"]
    # 3 ... 4.01 + 3 * 1.01 = 7.04 is shown: the million is not
    assert len(lines) == 2
    texts = {t.text: float(t.get("y")) for t in body.iter("text") if t.text}
    assert texts["low"] - texts["high"] >= 12
    assert "(far)" in texts
    assert texts["(far)"] < texts["high"]


def test_a_ruined_trial_does_not_flatten_the_others():
    points = ((0.0, 3.0), (1.0, 3.1), (2.0, 3.2), (3.0, 1e9))
    body = parse(trials(WHAT, points, [], "bits", lower_is_better=True))
    heights = [y for _, y in places(body)]
    assert heights[0] == 172
    assert heights[1] < 160
    assert heights[3] == 30
    assert [dot.get("r") for dot in body.iter("circle")] == ["3.5", "3.5", "3.5", "2"]


def test_one_trial():
    body = parse(trials(WHAT, ((0.0, 3.0),), [], "bits", lower_is_better=True))
    assert places(body) == [(46, 101)]

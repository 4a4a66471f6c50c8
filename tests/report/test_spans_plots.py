"""Bars and dots stand where their numbers say, by hand."""

import re
import xml.etree.ElementTree as ET

import pytest

from inarch.report._draw import WIDTH
from inarch.report._spans_plots import bars, calibration_plot, short
from inarch.report._svg import inline

WHAT = ("name", "title", "alt")


def parse(figure):
    (svg,) = re.findall(r"<svg .*</svg>", inline(figure), re.S)
    return ET.fromstring(svg)


def test_bars_by_hand():
    rows = [("right", 200, "200"), ("a <long> name that is cut", 50, "50"), ("none", 0, "0")]
    body = parse(bars(WHAT, rows, good=("right",)))
    boxes = [(r.get("x"), float(r.get("width")), r.get("class")) for r in body.iter("rect")]
    # Names take 104, the longest figure 3 * 8 and 8 around it: 320 - 104 - 32 = 184 are left.
    assert boxes == [
        ("104", 184, "cell"),
        ("104", 46, "cell below"),
        ("104", 0, "cell below"),
    ]
    texts = ["".join(t.itertext()) for t in body.iter("text")]
    assert texts[:2] == ["right", "200"]
    assert texts[2].startswith("a <long> name that is cuta <long>")  # whole as a title, then cut
    assert texts[2].endswith("…")


def test_bars_of_one_kind_and_none():
    (rect,) = parse(bars(WHAT, [("a", 1, "1")])).iter("rect")
    assert rect.get("class") == "cell"
    assert not list(parse(bars(WHAT, [])).iter("rect"))


def bin_of(num, score=None, toxic=None):
    return {"num": num, "score": score, "toxic": toxic}


def test_calibration_by_hand():
    bins = [bin_of(99, 0.25, 0.5), bin_of(0), bin_of(0), bin_of(9, 1.0, 1.0)]
    body = parse(calibration_plot(WHAT, bins))
    circles = [tuple(c.get(k) for k in ("cx", "cy", "class")) for c in body.iter("circle")]
    # Scores go from 40 to 312, shares from 224 up to 24: .25 is 108, .5 is 124.
    assert circles == [("108", "124", "strong"), ("312", "24", "strong few")]
    (error, _) = [x for x in body.iter("line") if x.get("class") == "span strong"]
    # Two errors: 2 * sqrt(.25 / 99) = .1005, times 200.
    assert float(error.get("y1")) == pytest.approx(124 - 20.1, abs=0.06)
    assert float(error.get("y2")) == pytest.approx(124 + 20.1, abs=0.06)
    (diagonal,) = [x for x in body.iter("line") if "thin" in x.get("class")]
    assert [diagonal.get(k) for k in ("x1", "y1", "x2", "y2")] == [
        *("40", "224"),
        *("312", "24"),
    ]
    # Counts on a scale of logarithms: log 10 of 100 and of 10, the higher one has 32.
    heights = [float(r.get("height")) for r in body.iter("rect")]
    assert heights == [32.0, 0.0, 0.0, 16.0]
    floors = {float(r.get("y")) + float(r.get("height")) for r in body.iter("rect")}
    assert floors == {288.0}
    (title, _) = body.iter("title")
    assert title.text == "99 with a mean score of 0.250: 50.0% toxic"


def test_errors_end_at_the_axis():
    body = parse(calibration_plot(WHAT, [bin_of(1, 0.5, 0.9)]))
    (error,) = [x for x in body.iter("line") if x.get("class") == "span strong"]
    assert (error.get("y1"), float(error.get("x1"))) == ("24", (40 + WIDTH - 8) / 2)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, ""), (7, "7"), (999, "999"), (1000, "1.0k"), (9949, "9.9k"), (26_049, "26k"),
     (1_200_000, "1.2M")],
)  # fmt: skip
def test_short(number, expected):
    assert short(number) == expected

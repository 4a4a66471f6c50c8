"""Cells stand where their layer and matrix are, by hand."""

import re
import xml.etree.ElementTree as ET

import pytest

from inarch.report._layers_plot import in_cell, layers
from inarch.report._svg import inline
from inarch.report.layers import LayerMap

WHAT = ("name", "title", "alt")


def parse(figure):
    (svg,) = re.findall(r"<svg .*</svg>", inline(figure), re.S)
    return ET.fromstring(svg)


def test_cells_by_hand():
    shown = LayerMap(("q_proj", "k_proj"), (("embed", 2.0), ("0", (1.0, -2.0)), ("1", (None, 0.0))))
    body = parse(layers(WHAT, shown, 2.0, "{:.0f}".format))
    # two columns of (320 - 84) / 2 = 118 from 84 on; a head of one line, 15; rows of 15
    boxes = [tuple(float(rect.get(k)) for k in ("x", "y", "width")) for rect in body.iter("rect")]
    assert boxes == [
        (84.5, 15.5, 235.0),  # what is in no layer has all the width
        (84.5, 30.5, 117.0),
        (202.5, 30.5, 117.0),
        (202.5, 45.5, 117.0),
    ]
    # .04 for 0 and .60 for the largest, whatever its sign
    assert [r.get("fill-opacity") for r in body.iter("rect")] == [
        "0.600",
        "0.320",
        "0.600",
        "0.040",
    ]
    assert [r.get("class") for r in body.iter("rect")] == ["cell", "cell", "cell below", "cell"]
    texts = [t.text for t in body.iter("text")]
    assert texts == ["q", "k", "embed", "2", "0", "1", "-2", "1", "–", "0"]
    assert [t.text for t in body.iter("title")] == [
        "embed: 2",
        "0, q_proj: 1",
        "0, k_proj: -2",
        "1, k_proj: 0",
    ]


def test_names_of_several_words_are_written_below_each_other():
    shown = LayerMap(("q_proj", "post_attention_layernorm"), (("0", (1.0, 1.0)),))
    body = parse(layers(WHAT, shown, 1.0, str))
    places = {t.text: float(t.get("y")) for t in body.iter("text")}
    assert places["post"] + 22 == places["attn"] + 11 == places["norm"] == places["q"]
    assert next(body.iter("rect")).get("y") == "37.5"  # three lines of 11 and 4


def test_narrow_cells_keep_their_numbers_to_themselves():
    shown = LayerMap(tuple(f"m{i}" for i in range(20)), (("0", (1.0,) * 20),))
    body = parse(layers(WHAT, shown, 1.0, str))
    assert "1.0" not in [t.text for t in body.iter("text")]
    assert next(t.text for t in body.iter("title")) == "0, m0: 1"


def test_nothing_to_show():
    assert parse(layers(WHAT, LayerMap((), ()), 0.0, str)) is not None
    zero = LayerMap(("q",), (("0", (0.0,)),))
    assert next(parse(layers(WHAT, zero, 0.0, str)).iter("rect")).get("fill-opacity") == "0.040"


@pytest.mark.parametrize(
    ("largest", "value", "expected"),
    [
        (1.0, 0.25, ".25"),
        (0.96, -0.5, "−.50"),
        (1.4, 1.0, "1.00"),
        (0.05, 0.012, ".012"),
        (20.0, 10.05, "10"),
        (0.0, 0.0, ".00"),
        (1e-9, 1e-9, ".0000"),
        (30.0, 0.4, "0"),
    ],
)
def test_numbers_in_cells_are_short(largest, value, expected):
    assert in_cell(largest)(value) == expected

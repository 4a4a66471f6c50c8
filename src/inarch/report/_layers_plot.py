"""A map of layers and matrices as a plot."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from inarch.report._draw import WIDTH, label, px, shorten, words
from inarch.report._html import Markup, join, tag
from inarch.report._svg import Figure
from inarch.report.layers import LayerMap, brief

_LEFT, _HIGH, _FONT = 84, 15, 9
"""Width of the names of layers; height of a cell; size of its text."""
_LEAST_FOR_FIGURES = 19
"""Width of a cell from which on a number is written into it."""


def layers(
    figure: tuple[str, str, str], shown: LayerMap, largest: float, form: Callable[[float], str]
) -> Figure:
    """Return a map whose cells are the darker the larger their number, in its absolute value.

    Numbers below zero have another colour, and their sign. Each cell says its name and number when
    it is pointed at.

    Args:
        figure: Name, title and alternative text.
        shown: The numbers.
        largest: The number with the darkest cell.
        form: How a number is written; short.
    """
    wide = (WIDTH - _LEFT) / max(1, len(shown.columns))
    wrapped = [brief(column).split(" ") for column in shown.columns]
    top = 11 * max(map(len, wrapped), default=0) + 4
    body = [
        words(
            _LEFT + wide * (j + 0.5),
            top - 11 * (len(parts) - n) + 6,
            shorten(part, wide, _FONT),
            "tiny middle",
        )
        for j, parts in enumerate(wrapped)
        for n, part in enumerate(parts)
    ]
    for i, (name, values) in enumerate(shown.rows):
        y = top + _HIGH * i
        body.append(label(0, y + 11, name, _LEFT - 4, "axis"))
        if not isinstance(values, tuple):
            body.append(_cell((_LEFT, y, WIDTH - _LEFT), values, name, largest, form))
            continue
        for j, (column, value) in enumerate(zip(shown.columns, values, strict=True)):
            box = (_LEFT + wide * j, y, wide)
            body.append(_cell(box, value, f"{name}, {column}", largest, form))
    return Figure(*figure, top + _HIGH * len(shown.rows) + 4, join(body))


def _cell(
    box: tuple[float, float, float],
    value: float | None,
    name: str,
    largest: float,
    form: Callable[[float], str],
) -> Markup:
    x, y, wide = box
    if value is None:
        return words(x + wide / 2, y + 11, "–", "tiny middle")
    shade = 0.04 + 0.56 * (abs(value) / largest if largest else 0.0)
    kind = "cell below" if value < 0 else "cell"
    sides = {"x": px(x + 0.5), "y": px(y + 0.5), "width": px(wide - 1), "height": _HIGH - 1}
    figures = form(value) if wide >= _LEAST_FOR_FIGURES else ""
    return tag(
        "g",
        tag("title", f"{name}: {value:.4g}"),
        tag("rect", **sides, rx=2, class_=kind, fill_opacity=f"{shade:.3f}"),
        words(x + wide / 2, y + 11, figures, "tiny middle"),
    )


def in_cell(largest: float) -> Callable[[float], str]:
    """Return how numbers of at most that size are written in a cell: two digits of the largest."""
    places = 0 if largest == 0 else math.floor(math.log10(largest))
    digits = min(max(0, 1 - places), 4) if places else 2

    def form(value: float) -> str:
        return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}").replace("-", "−")

    return form

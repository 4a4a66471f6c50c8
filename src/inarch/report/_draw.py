"""What all plots are drawn with: labels, words and lines at their places, round numbers of axes.

Places are in pixels of a column `WIDTH` wide, from its left and upper end.
"""

from __future__ import annotations

import math
import unicodedata

from inarch.report._html import Markup, tag

WIDTH = 320
_FONT, _SMALL = 12, 11
"""Sizes of text; the small one is that of axes."""
LINE = _FONT + 3
"""Height of a label among labels that must not touch."""
_EDGE = 24
"""Half the width of a number on an axis, about."""


def label(x: float, y: float, name: str, width: float, kind: str) -> Markup:
    """Return a name, cut to a width, with the whole of it where a pointer rests on it."""
    shown = shorten(name, width, _SMALL if "axis" in kind else _FONT)
    full = None if shown == name else tag("title", name)
    return tag("text", full, shown, x=px(x), y=px(y), class_=kind or None)


def words(x: float, y: float, text: str, kind: str) -> Markup:
    """Return words at a place; ``end`` and ``middle`` of their kind say what of them is there."""
    return tag("text", text, x=px(x), y=px(y), class_=kind or None)


def line(x1: float, x2: float, y1: float, y2: float, kind: str, **more: object) -> Markup:
    """Return a straight line; ``more`` are attributes."""
    return tag("line", x1=px(x1), x2=px(x2), y1=px(y1), y2=px(y2), class_=kind, **more)


def upright(x: float, y: float, half: float, kind: str) -> Markup:
    """Return an upright line as far above a place as below it."""
    return line(x, x, y - half, y + half, kind)


def anchor(x: float) -> str:
    """Return how a number stands at a place: inside the plot at its two ends."""
    return "start" if x < _EDGE else "end" if x > WIDTH - _EDGE else "middle"


def px(value: float) -> str:
    """Return a place in a plot."""
    return f"{value:.1f}".removesuffix(".0")


def axis_number(value: float) -> str:
    """Return a number of an axis."""
    return f"{value:,g}".replace("-", "−")


def ticks(low: float, high: float, beyond: bool = False) -> list[float]:
    """Return round numbers within a range, about four of them.

    Args:
        low: Start of the range.
        high: Its end.
        beyond: The last number is the first that is not below ``high``.
    """
    raw = (high - low) / 4 or 1.0
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    last = math.ceil(high / step - 1e-9) if beyond else math.floor(high / step + 1e-9)
    return [number * step for number in range(math.ceil(low / step - 1e-9), last + 1)]


def shorten(text: str, width: float, font: float = _FONT) -> str:
    """Return the text, cut to about a width in pixels, with an ellipsis where it was cut."""
    used = 0.0
    for number, character in enumerate(text):
        wide = unicodedata.east_asian_width(character) in "WF"
        used += font * (1.05 if wide else 0.55)
        if used > width:
            return text[: max(1, number - 1)].rstrip() + "…"
    return text

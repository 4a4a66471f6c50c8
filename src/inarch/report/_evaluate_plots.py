"""Plots of evaluations: means with intervals, and bars by category."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from inarch.report._draw import WIDTH, anchor, axis_number, label, line, px, ticks, upright, words
from inarch.report._html import join, tag
from inarch.report._svg import Figure

Form = Callable[[float], str]

_STEP = 38
"""Height of a mean with its name."""
_SIDE = 6
"""Free at both ends of an axis."""
_BAR, _THICK, _NAMES, _FIGURES = 24, 15, 104, 54
"""Of bars: height of a row, of a bar; width of the names and of the figures."""


class Span(NamedTuple):
    """A mean with its interval."""

    name: str
    mean: float
    lower: float
    upper: float
    strong: bool = True


class Bar(NamedTuple):
    """What a model got in one category."""

    name: str
    mean: float
    lower: float
    upper: float
    best: float
    """Of all models."""


def spans(
    figure: tuple[str, str, str],
    rows: Sequence[Span],
    extent: tuple[float, float],
    form: Form,
    middle: float | None = None,
) -> Figure:
    """Return a plot with a row per name: a dot at the mean, a line from end to end of its interval.

    Args:
        figure: Name, title and alternative text.
        rows: From the top.
        extent: Values at the two ends of the axis.
        form: How the numbers are written.
        middle: Where a line says that neither side is better.
    """
    low, high = extent
    bottom = _STEP * len(rows)

    def x(value: float) -> float:
        return _SIDE + (value - low) / (high - low) * (WIDTH - 2 * _SIDE)

    marks = ticks(low, high)
    inside = middle is not None and low <= middle <= high
    if middle is not None and inside and all(abs(x(t) - x(middle)) > 26 for t in marks):
        marks.append(middle)
    body = [words(x(t), bottom + 16, axis_number(t), f"axis {anchor(x(t))}") for t in marks]
    lines = dict.fromkeys(marks, "grid")
    if middle is not None and inside:
        lines[middle] = "zero"
    for number, row in enumerate(rows):
        y, kind = _STEP * number + 26, "strong" if row.strong else "quiet"
        weight = "" if row.strong else "quiet"
        told = f"{row.name}: {form(row.mean)} ({form(row.lower)} to {form(row.upper)})"
        body += [upright(x(t), y, 7, name) for t, name in lines.items()]
        body += [
            label(0, y - 12, row.name, WIDTH - 60, weight),
            words(WIDTH, y - 12, form(row.mean), f"end {weight}".rstrip()),
            line(x(row.lower), x(row.upper), y, y, f"interval {kind}"),
            tag("circle", tag("title", told), cx=px(x(row.mean)), cy=y, r=4.5, class_=kind),
        ]
    return Figure(*figure, bottom + 22, join(body))


def category_bars(
    figure: tuple[str, str, str],
    rows: Sequence[Bar],
    extent: tuple[float, float],
    form: Form,
) -> Figure:
    """Return a plot with a bar per category, a thin line for its interval, a tick at the best.

    Args:
        figure: Name, title and alternative text.
        rows: From the top.
        extent: Values where a bar begins, and where the longest possible one ends.
        form: How the numbers are written.
    """
    low, high = extent
    right = WIDTH - _FIGURES

    def x(value: float) -> float:
        return _NAMES + (min(max(value, low), high) - low) / (high - low) * (right - _NAMES)

    body = []
    for number, row in enumerate(rows):
        y = _BAR * number
        told = (
            f"{row.name}: {form(row.mean)} ({form(row.lower)} to {form(row.upper)});"
            f" the best model {form(row.best)}"
        )
        box = {"x": _NAMES, "y": y + 2, "width": px(x(row.mean) - _NAMES), "height": _THICK}
        middle = y + 2 + _THICK / 2
        body += [
            label(_NAMES - 6, y + 14, row.name, _NAMES - 8, "end"),
            tag("rect", tag("title", told), **box, rx=2, class_="cell pale"),
            line(x(row.lower), x(row.upper), middle, middle, "thin whisker"),
            line(x(row.best), x(row.best), y, y + _THICK + 4, "mean best"),
            words(WIDTH, y + 14, form(row.mean), "end quiet"),
        ]
    floor = _BAR * len(rows) + 14
    body += [
        words(x(low), floor, axis_number(low), "axis"),
        words(x(high), floor, axis_number(high), "axis end"),
    ]
    return Figure(*figure, floor + 6, join(body))


def alt_text(title: str, rows: Sequence[Span], form: Form) -> str:
    """Return what a reader who cannot see a plot is told."""
    return f"{capital(title)}. " + "; ".join(
        f"{row.name} {form(row.mean)}, {form(row.lower)} to {form(row.upper)}" for row in rows
    )


def capital(text: str) -> str:
    """Return words that begin with a capital."""
    return text[:1].upper() + text[1:]

"""Plots as SVG, made for a column of a phone: dots, lines and a heat map.

Colours are variables of the page, so that a plot follows light and dark; `standalone` gives a file
of its own the same. Names are drawn beside what they name, and no colour carries a meaning alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from inarch.report._draw import (
    LINE,
    WIDTH,
    anchor,
    axis_number,
    label,
    line,
    px,
    ticks,
    upright,
    words,
)
from inarch.report._html import Markup, join, tag
from inarch.report._style import COLOURS, MARKS

_MARGIN = 12
"""Around a plot in a file of its own."""
_LINE_NAMES = 76
"""Width of the names at the right end of lines."""


class Figure(NamedTuple):
    """A plot."""

    name: str
    """Stem of its file."""
    title: str
    alt: str
    """What a reader who cannot see it is told."""
    height: float
    body: Markup


class Row(NamedTuple):
    """One line of a dot plot."""

    name: str
    values: tuple[float, ...]
    """One per seed; their mean is drawn as a bar."""
    strong: bool = False


class Line(NamedTuple):
    """One line of a line plot."""

    name: str
    points: tuple[tuple[float, float], ...]
    strong: bool = True
    """Otherwise it is grey and unnamed: context for the others."""


def inline(figure: Figure) -> Markup:
    """Return the figure as an element of a page."""
    svg = tag(
        "svg",
        figure.body,
        viewBox=f"0 0 {WIDTH} {figure.height:g}",
        role="img",
        aria_label=figure.alt,
    )
    return tag("figure", tag("figcaption", figure.title), svg)


def standalone(figure: Figure) -> str:
    """Return the figure as the text of an SVG file, with its title above it."""
    width, height = WIDTH + 2 * _MARGIN, figure.height + 3 * _MARGIN
    body = [
        tag("title", figure.title),
        tag("desc", figure.alt),
        tag("style", Markup(COLOURS + MARKS)),
        tag("rect", width=width, height=height, class_="surface"),
        label(_MARGIN, 20, figure.title, WIDTH, "title"),
        tag("g", figure.body, transform=f"translate({_MARGIN} {2.5 * _MARGIN:g})"),
    ]
    return tag(
        "svg",
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height:g}",
        width=2 * width,
        height=f"{2 * height:g}",
    )


def dots(
    figure: tuple[str, str, str],
    rows: Sequence[Row],
    extent: tuple[float, float],
    form: Callable[[float], str],
) -> Figure:
    """Return a plot with a row per name: a dot per value, a bar at their mean, the mean in figures.

    Args:
        figure: Name, title and alternative text.
        rows: From the top.
        extent: Values at the two ends of the axis; where 0 is between them, a line marks it.
        form: How the means are written.
    """
    left, right, step = 6, WIDTH - 6, 38
    low, high = extent
    bottom = step * len(rows)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    marks = ticks(low, high)
    body = [words(x(t), bottom + 16, axis_number(t), f"axis {anchor(x(t))}") for t in marks]
    for number, row in enumerate(rows):
        y = step * number + 26
        mean = sum(row.values) / len(row.values)
        kind = "strong" if row.strong else "quiet"
        body += [upright(x(t), y, 7, _grid_class(t)) for t in marks]
        body += [
            label(0, y - 12, row.name, WIDTH - 60, kind),
            words(WIDTH, y - 12, form(mean), f"end {kind}"),
            line(x(min(row.values)), x(max(row.values)), y, y, f"span {kind}"),
            *(tag("circle", cx=px(x(v)), cy=y, r=3.5, class_=kind) for v in row.values),
            upright(x(mean), y, 6, f"mean {kind}"),
        ]
    return Figure(*figure, bottom + 22, join(body))


def lines(
    figure: tuple[str, str, str],
    drawn: Sequence[Line],
    axis: str,
    extent: float,
    across: Callable[[float], str] = lambda last: f"step {last:g}",
) -> Figure:
    """Return a plot of lines over training steps, from 0 upwards; the strong ones are named.

    Args:
        figure: Name, title and alternative text.
        drawn: Lines, the last on top.
        axis: What the vertical axis shows, with its unit.
        extent: Largest value that the vertical axis must hold.
        across: What the end of the other axis is called.
    """
    named = [curve for curve in drawn if curve.strong and curve.name]
    left, right = 40, WIDTH - (_LINE_NAMES if named else 8)
    top, bottom = 26, 176
    last_step = max((point[0] for curve in drawn for point in curve.points), default=1.0) or 1.0
    marks = ticks(0.0, extent, beyond=True)

    def x(step: float) -> float:
        return left + step / last_step * (right - left)

    def y(value: float) -> float:
        return bottom - value / marks[-1] * (bottom - top)

    body = [words(0, 12, axis, "axis")]
    for t in marks:
        body += [
            line(left, right, y(t), y(t), _grid_class(t)),
            words(left - 6, y(t) + 4, axis_number(t), "axis end"),
        ]
    body += [
        words(left, bottom + 16, "0", "axis"),
        words(right, bottom + 16, across(last_step), "axis end"),
    ]
    for curve in drawn:
        kind = f"line{named.index(curve)}" if curve in named else "" if curve.strong else "context"
        points = " ".join(f"{px(x(a))},{px(y(b))}" for a, b in curve.points)
        body.append(tag("polyline", points=points, class_=f"curve {kind}"))
    for number, (curve, place) in enumerate(zip(named, _apart(named, y), strict=True)):
        body.append(label(right + 5, place + 4, curve.name, _LINE_NAMES - 5, f"label{number}"))
    return Figure(*figure, bottom + 22, join(body))


def heat(
    figure: tuple[str, str, str],
    rows: Sequence[str],
    columns: Sequence[str],
    shares: Sequence[Sequence[float | None]],
) -> Figure:
    """Return a table of shares whose cells are the darker the larger they are.

    Args:
        figure: Name, title and alternative text.
        rows: Names from the top.
        columns: Names from the left.
        shares: In [0, 1], or None where nothing is known, ``[rows][columns]``.
    """
    left = 70
    wide, high = (WIDTH - left) / max(1, len(columns)), 34
    body = [
        label(left + wide * (j + 0.5), 14, column, wide, "axis middle")
        for j, column in enumerate(columns)
    ]
    for i, row in enumerate(rows):
        y = 22 + high * i
        body.append(label(0, y + high / 2 + 4, row, left - 4, ""))
        for j, share in enumerate(shares[i]):
            x = left + wide * j
            shade = f"{0.04 + 0.56 * (share or 0.0):.3f}"
            box = {"x": px(x + 1), "y": y + 1, "width": px(wide - 2), "height": high - 2}
            body += [
                tag("rect", **box, rx=3, class_="cell", fill_opacity=shade),
                words(x + wide / 2, y + high / 2 + 4, _figure(share), "middle"),
            ]
    return Figure(*figure, 26 + high * len(rows), join(body))


def _apart(named: Sequence[Line], y: Callable[[float], float]) -> list[float]:
    """Return heights for the names of lines: at their ends, moved down where two would touch."""
    ends = [y(line.points[-1][1]) for line in named]
    places = dict.fromkeys(range(len(named)), 0.0)
    above = -math.inf
    for number in sorted(places, key=lambda n: ends[n]):
        places[number] = above = max(ends[number], above + LINE)
    return [places[number] for number in range(len(named))]


def _grid_class(value: float) -> str:
    return "zero" if value == 0 else "grid"


def _figure(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"

"""A plot of what models got over how long their answers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from inarch.report._draw import WIDTH, axis_number, label, line, px, ticks, words
from inarch.report._evaluate_plots import Form
from inarch.report._html import Markup, join, tag
from inarch.report._svg import Figure
from inarch.report._words import count

_LEFT, _RIGHT, _TOP, _BOTTOM = 40, WIDTH - 14, 34, 234
"""Ends of the axes."""
_KEY = 17
"""Height of a line of the key."""
_RADIUS = 4.5

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class Point(NamedTuple):
    """A model among others."""

    name: str
    length: float
    """Mean characters of its answers."""
    score: float
    controlled: float | None
    """The score with length, or style, held equal."""


class Axes(NamedTuple):
    """What the plot shows."""

    score: str
    """Name of the score, with its unit."""
    controlled: str
    """Name of the score with length, or style, held equal."""
    extent: tuple[float, float]
    """Scores at the ends of the upright axis."""
    baseline: float | None
    """Mean length of the answers that the others are compared with."""
    form: Form
    """How scores are written."""


class _Place(NamedTuple):
    """A point in pixels."""

    x: float
    score: float
    controlled: float | None


def over_length(figure: tuple[str, str, str], points: Sequence[Point], axes: Axes) -> Figure:
    """Return a plot of scores over mean lengths; points are numbered, a key below says whose.

    A dot is a model's score, a ring what it is with length or style held equal; a line joins both.

    Args:
        figure: Name, title and alternative text.
        points: In the order of their numbers.
        axes: What is shown.
    """
    low, high = axes.extent
    shortest, longest = _lengths([*(p.length for p in points), axes.baseline])

    def x(length: float) -> float:
        return _LEFT + (length - shortest) / (longest - shortest) * (_RIGHT - _LEFT)

    def y(score: float) -> float:
        return _BOTTOM - (score - low) / (high - low) * (_BOTTOM - _TOP)

    places = [
        _Place(x(p.length), y(p.score), None if p.controlled is None else y(p.controlled))
        for p in points
    ]
    body = [words(0, 12, axes.score, "axis")]
    for t in ticks(low, high):
        body += [
            line(_LEFT, _RIGHT, y(t), y(t), "grid"),
            words(_LEFT - 6, y(t) + 4, axis_number(t), "axis end"),
        ]
    for t in ticks(shortest, longest):
        side = "end" if x(t) > WIDTH - 24 else "middle"
        body.append(words(x(t), _BOTTOM + 17, axis_number(t), f"axis {side}"))
    body.append(words((_LEFT + _RIGHT) / 2, _BOTTOM + 33, "characters per answer", "axis middle"))
    if axes.baseline is not None:
        at = x(axes.baseline)
        side = "end" if at > WIDTH / 2 else "start"
        body += [
            line(at, at, _TOP - 4, _BOTTOM, "curve line2"),
            words(at, _TOP - 8, "baseline", f"axis {side}"),
        ]
    for point, place in zip(points, places, strict=True):
        body += _marks(point, place, axes)
    body += _numbers(places, None if axes.baseline is None else x(axes.baseline))
    key = _key(points, axes)
    return Figure(*figure, _BOTTOM + 44 + _KEY * len(key), join([*body, *key]))


def _lengths(lengths: Sequence[float | None]) -> tuple[float, float]:
    """Return the ends of the axis: from 0, or closer where all lengths are much alike."""
    known = [length for length in lengths if length is not None]
    low, high = min(known), max(known)
    if low <= high / 2:
        return 0.0, ticks(0.0, high or 1.0, beyond=True)[-1]
    room = max(0.2 * (high - low), 0.02 * high)
    return low - room, high + room


def _marks(point: Point, place: _Place, axes: Axes) -> list[Markup]:
    told = f"{point.name}: {axes.form(point.score)} with {count(point.length)} characters"
    marks = []
    if place.controlled is not None and point.controlled is not None:
        told += f"; {axes.controlled} {axes.form(point.controlled)}"
        ring = {"cx": px(place.x), "cy": px(place.controlled), "r": _RADIUS, "class_": "few"}
        marks += [
            line(place.x, place.x, place.score, place.controlled, "span strong"),
            tag("circle", tag("title", told), **ring),
        ]
    dot = {"cx": px(place.x), "cy": px(place.score), "r": _RADIUS, "class_": "strong"}
    return [*marks, tag("circle", tag("title", told), **dot)]


def _numbers(places: Sequence[_Place], baseline: float | None) -> list[Markup]:
    """Return the number of each point beside it, where it hides no mark, line or other number."""
    taken = [] if baseline is None else [(baseline - 1, float(_TOP), baseline + 1, float(_BOTTOM))]
    taken += [
        (p.x - _RADIUS, at - _RADIUS, p.x + _RADIUS, at + _RADIUS)
        for p in places
        for at in (p.score, p.controlled)
        if at is not None
    ]
    found = []
    for number, place in enumerate(places, 1):
        boxes = [_beside(place, side, len(str(number))) for side in _SIDES]
        free = [box for box in boxes if not any(_touch(box, other) for other in taken)]
        box = (free or boxes)[0]
        taken.append(box)
        if box not in boxes[:4]:
            middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            found.append(line(place.x, middle[0], place.score, middle[1], "grid"))
        found.append(words(box[0], box[3], str(number), "axis"))
    return found


_SIDES = [
    (dx * far, dy * far)
    for far in (12, 24, 36, 48, 60)
    for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))
]
"""From a point to the middle of its number, the best first."""


def _beside(place: _Place, side: tuple[int, int], num_digits: int) -> Box:
    """Return the room that a number takes beside a point."""
    x, y, wide = place.x + side[0], place.score + side[1], 6.5 * num_digits
    x += (side[0] > 0) * (wide - 6.5) / 2 - (side[0] < 0) * (wide - 6.5) / 2
    return x - wide / 2, y - 4.5, x + wide / 2, y + 4.5


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _key(points: Sequence[Point], axes: Axes) -> list[Markup]:
    y = _BOTTOM + 54.0
    lines: list[Markup] = []

    def add(mark: Markup, told: str) -> None:
        at = y + _KEY * len(lines)
        moved = tag("g", mark, transform=f"translate(0 {px(at)})")
        lines.append(join([moved, label(22, at, told, WIDTH - 24, "axis")]))

    add(tag("circle", cx=8, cy=-4, r=_RADIUS, class_="strong"), axes.score)
    if any(point.controlled is not None for point in points):
        add(tag("circle", cx=8, cy=-4, r=_RADIUS, class_="few"), axes.controlled)
    for number, point in enumerate(points, 1):
        add(words(4, 0, str(number), "axis"), point.name)
    return lines

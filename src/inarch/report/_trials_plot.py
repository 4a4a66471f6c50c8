"""The scores of a search over its trials as a plot."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from inarch.report._draw import WIDTH, axis_number, label, line, px, ticks, words
from inarch.report._html import Markup, join, tag
from inarch.report._svg import Figure

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, WIDTH - 78, 26, 176
_LINE = 12
"""Height of a name."""


class _Frame(NamedTuple):
    """What the sides of the plot stand for."""

    low: float
    high: float
    last: float

    def x(self, number: float) -> float:
        return _LEFT + number / (self.last or 1.0) * (_RIGHT - _LEFT)

    def y(self, score: float) -> float:
        inside = min(max(score, self.low), self.high) - self.low
        share = inside / (self.high - self.low) if self.high > self.low else 0.5
        return _BOTTOM - 4 - share * (_BOTTOM - _TOP - 8)


def trials(
    figure: tuple[str, str, str],
    points: Sequence[tuple[float, float]],
    references: Sequence[tuple[str, float]],
    axis: str,
    lower_is_better: bool,
) -> Figure:
    """Return a plot of the scores of trials, with the best so far as a line.

    The worst, which are often ruined merges, would flatten the others: they are small dots at the
    edge.

    Args:
        figure: Name, title and alternative text.
        points: Number and score of each trial, in their order.
        references: Name and score of each input alone: lines across.
        axis: What a score is.
        lower_is_better: Whether the best score is the lowest.
    """
    sign = 1 if lower_is_better else -1
    ends = _ends([sign * score for _, score in points], [sign * score for _, score in references])
    low, high = sorted(sign * end for end in ends)
    frame = _Frame(low, high, points[-1][0])
    best = min((score for _, score in points), key=lambda score: sign * score)
    body = [words(0, 12, axis, "axis"), *_axes(frame), *_references(frame, references)]
    so_far = list(itertools.accumulate((sign * score for _, score in points), min))
    corners = [(points[0][0], sign * so_far[0])]
    for (number, _), before, after in zip(points[1:], so_far, so_far[1:], strict=False):
        corners += [(number, sign * before), (number, sign * after)]
    path = " ".join(f"{px(frame.x(a))},{px(frame.y(b))}" for a, b in corners)
    body += [
        tag("polyline", points=path, class_="curve"),
        *(_dot(frame, point, point[1] == best) for point in points),
    ]
    return Figure(*figure, _BOTTOM + 22, join(body))


def _ends(costs: Sequence[float], references: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest cost of the plot."""
    ranked = sorted((*costs, *references))
    middle = ranked[len(ranked) // 2]
    return ranked[0], min(ranked[-1], middle + 3 * (middle - ranked[0]))


def _axes(frame: _Frame) -> list[Markup]:
    body = []
    for t in ticks(frame.low, frame.high):
        body.append(line(_LEFT, _RIGHT, frame.y(t), frame.y(t), "grid"))
        body.append(words(_LEFT - 6, frame.y(t) + 4, axis_number(t), "axis end"))
    body.append(words(_LEFT, _BOTTOM + 16, "plain mean", "axis"))
    body.append(words(_RIGHT, _BOTTOM + 16, f"trial {frame.last:g}", "axis end"))
    return body


def _references(frame: _Frame, references: Sequence[tuple[str, float]]) -> list[Markup]:
    """Return lines across, each with its name at the right; names keep apart."""
    body, above = [], 0.0
    for name, score in sorted(references, key=lambda reference: frame.y(reference[1])):
        at = frame.y(score)
        is_inside = frame.low <= score <= frame.high
        if is_inside:
            body.append(line(_LEFT, _RIGHT, at, at, "zero", stroke_dasharray="2 3"))
        above = max(at, above + _LINE)
        body.append(label(_RIGHT + 5, above + 4, name if is_inside else f"({name})", 72, "axis"))
    return body


def _dot(frame: _Frame, point: tuple[float, float], is_best: bool) -> Markup:
    number, score = point
    is_inside = frame.low <= score <= frame.high
    place = {"cx": px(frame.x(number)), "cy": px(frame.y(score)), "r": 3.5 if is_inside else 2}
    kind = "strong" if is_best else "quiet"
    text = tag("title", f"trial {number:g}: {score:.4f}")
    return tag("g", text, tag("circle", **place, class_=kind))

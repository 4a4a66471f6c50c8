"""Two plots of taggers: counts as bars, and how far scores are from what they promise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from inarch.report._draw import WIDTH, label, line, px, words
from inarch.report._html import Markup, join, tag
from inarch.report._svg import Figure
from inarch.report._words import count

_STEP, _THICK = 24, 15
_LEFT, _RIGHT, _TOP, _SIDE = 40, WIDTH - 8, 24, 200
"""Of the reliability plot: its left and right end, where it begins, its height."""
_COUNTS = 44
"""Height of the counts below it."""
_FEW = 10
"""Scores below which a bin is drawn hollow."""


def bars(
    figure: tuple[str, str, str],
    rows: Sequence[tuple[str, float, str]],
    good: Sequence[str] = (),
    left: float = 104,
) -> Figure:
    """Return a plot of numbers as bars from 0, each with its name before and its figure behind.

    Args:
        figure: Name, title and alternative text.
        rows: Name, number and how it is written, from the top.
        good: Names of bars in the first colour; the others have the second.
        left: Width of the names.
    """
    wide = WIDTH - left - 8 - 8 * max((len(text) for *_, text in rows), default=0)
    most = max((number for _, number, _ in rows), default=0) or 1
    body = []
    for i, (name, number, text) in enumerate(rows):
        y, length = _STEP * i, number / most * wide
        kind = "cell" if name in good or not good else "cell below"
        bar = {"x": f"{left:g}", "y": y + 2, "width": px(length), "height": _THICK}
        body += [
            label(left - 6, y + 14, name, left - 6, "end"),
            tag("rect", **bar, rx=2, class_=kind),
            words(left + length + 5, y + 14, text, "quiet"),
        ]
    return Figure(*figure, _STEP * len(rows) + 4, join(body))


def calibration_plot(figure: tuple[str, str, str], bins: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the share that is toxic over the score, a dot per bin; below it, how many there are.

    A dot on the diagonal means what it says. Its upright line is two binomial standard errors to
    either side. The counts are on a scale of logarithms, as few tokens are toxic.

    Args:
        figure: Name, title and alternative text.
        bins: ``num``, ``score`` and ``toxic``, of equal width from 0 to 1.
    """

    def x(score: float) -> float:
        return _LEFT + score * (_RIGHT - _LEFT)

    def y(share: float) -> float:
        return _TOP + (1 - share) * _SIDE

    body = [words(0, 12, "toxic, %", "axis")]
    for t in (0, 0.25, 0.5, 0.75, 1):
        body += [
            line(x(0), x(1), y(t), y(t), "zero" if t == 0 else "grid"),
            words(_LEFT - 6, y(t) + 4, f"{100 * t:.0f}", "axis end"),
        ]
    body.append(line(x(0), x(1), y(0), y(1), "mean quiet thin"))
    for row in bins:
        if row["num"]:
            body += _dot(row, x, y)
    return Figure(*figure, _TOP + _SIDE + _COUNTS + 56, join([*body, *_counts(bins, x)]))


def _dot(row: Mapping[str, Any], x: Any, y: Any) -> list[Markup]:
    at, share, num = x(row["score"]), row["toxic"], row["num"]
    error = 2 * math.sqrt(share * (1 - share) / num)
    ends = y(min(1, share + error)), y(max(0, share - error))
    told = f"{count(num)} with a mean score of {row['score']:.3f}: {100 * share:.1f}% toxic"
    kind = "strong few" if num < _FEW else "strong"
    circle = {"cx": px(at), "cy": px(y(share)), "r": 4.5, "class_": kind}
    return [line(at, at, *ends, "span strong"), tag("circle", tag("title", told), **circle)]


def _counts(bins: Sequence[Mapping[str, Any]], x: Any) -> list[Markup]:
    top = _TOP + _SIDE + 20
    most = math.log10(1 + max((row["num"] for row in bins), default=0)) or 1
    body = []
    for number, row in enumerate(bins):
        start, end = x(number / len(bins)), x((number + 1) / len(bins))
        high = math.log10(1 + row["num"]) / most * (_COUNTS - 12)
        box = {"x": px(start + 1), "y": px(top + _COUNTS - high), "height": px(high)}
        body += [
            tag("rect", **box, width=px(end - start - 2), class_="cell quiet"),
            words(
                (start + end) / 2, top + _COUNTS - high - 3, short(row["num"]), "axis tiny middle"
            ),
        ]
    floor = top + _COUNTS
    body += [
        line(x(0), x(1), floor, floor, "zero"),
        *(words(x(t), floor + 14, f"{t:g}", "axis middle") for t in (0.25, 0.5, 0.75)),
        words(x(0), floor + 14, "0", "axis"),
        words(x(1), floor + 14, "1", "axis end"),
        words(x(0.5), floor + 29, "score", "axis middle"),
        words(_LEFT - 6, floor, "count", "axis tiny end"),
    ]
    return body


def short(number: int) -> str:
    """Return a count in at most four characters: 37,412 is ``37k``; nothing for 0."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            shown = number / size
            return f"{shown:.1f}{unit}" if shown < 9.95 else f"{shown:.0f}{unit}"
    return str(number) if number else ""

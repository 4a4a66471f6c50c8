"""The part of a page about scores and lengths: a judge may like an answer for its length alone."""

from __future__ import annotations

from collections.abc import Sequence

from inarch.evaluate.leaderboard import Leaderboard, Standing, by_length, mean_length
from inarch.report._evaluate_lengths import Axes, Point, over_length
from inarch.report._evaluate_plots import Span, alt_text, capital, spans
from inarch.report._evaluate_scales import Scale, controlled, controlled_name
from inarch.report._html import Markup, tag
from inarch.report._page import Part, fold, heading, paragraph, slug
from inarch.report._svg import Figure, inline
from inarch.report._words import count, listed


def length_parts(board: Leaderboard, scale: Scale) -> list[Part]:
    """Return what is known of scores and lengths; nothing where no length is known."""
    lengths = {s.result.model: mean_length(s.result.scores) for s in board.standings}
    known = [s for s in board.standings if lengths[s.result.model][0] is not None]
    if not known:
        return []
    points = [
        Point(
            s.result.model,
            lengths[s.result.model][0] or 0.0,
            s.whole.mean,
            fair[0] if (fair := controlled(s.result)) else None,
        )
        for s in known
    ]
    values = [v for p in points for v in (p.score, p.controlled) if v is not None]
    name, even = scale.score, controlled_name(board.protocol)
    baseline = next((length for _, length in lengths.values() if length is not None), None)
    axes = Axes(name, even, scale.extent(values), baseline, scale.form)
    binned = [figure for s in known if (figure := _binned(s, scale)) is not None]
    parts: list[Part] = [
        heading("Scores and lengths", 3),
        _about_lengths(board, known),
        (_over_length(points, axes, scale), *binned[:1]),
    ]
    if binned[1:]:
        others = tag("div", *map(inline, binned[1:]), class_="plots")
        parts.append(fold("The same of the other models", others))
    return parts


def _about_lengths(board: Leaderboard, known: Sequence[Standing]) -> Markup:
    told = "A judge may like an answer for its length alone."
    if any(controlled(standing.result) for standing in known):
        told += " A line joins each model's score with what is left of it by the official control."
    left = [s.result.model for s in board.standings if s not in known]
    told += f" The lengths of {listed(left)} are not known." if left else ""
    return paragraph(told, kind="note")


def _over_length(points: Sequence[Point], axes: Axes, scale: Scale) -> Figure:
    title = f"{capital(scale.name)} against length"
    alt = f"{title}: " + "; ".join(
        f"{p.name} {scale.form(p.score)}"
        + ("" if p.controlled is None else f", {axes.controlled} {scale.form(p.controlled)},")
        + f" with {count(p.length)} characters"
        for p in points
    )
    return over_length((f"lengths-{slug(scale.benchmark)}", title, alt), points, axes)


def _binned(standing: Standing, scale: Scale) -> Figure | None:
    """Return a model's scores by how much longer its answers are; None where that is not known."""
    bins = by_length(standing.result.scores)
    if len(bins) < 2:
        return None
    rows = [Span(f"{_range(b.low, b.high)} ({b.score.n})", *b.score[:3]) for b in bins]
    name = standing.result.model
    title = f"{name}: {scale.name} by length beside the baseline's answer"
    what = (f"by-length-{slug(name)}", title, alt_text(title, rows, scale.form))
    extent = scale.extent(end for row in rows for end in (row.lower, row.upper))
    return spans(what, rows, extent, scale.form, scale.middle)


def _range(low: int, high: int) -> str:
    """Return a range of characters in words: -500 to -20 is "20 to 500 shorter"."""
    if low == high:
        return "as long" if low == 0 else f"{count(abs(low))} {'longer' if low > 0 else 'shorter'}"
    if high < 0:
        return f"{count(-high)} to {count(-low)} shorter"
    if low > 0:
        return f"{count(low)} to {count(high)} longer"
    ends = "as long" if low == 0 else f"{count(-low)} shorter", f"{count(high)} longer"
    return f"{ends[0]} to {ends[1] if high else 'as long'}"

"""The part of a page about one leaderboard: who is first, categories, lengths, how it was made."""

from __future__ import annotations

from inarch.evaluate.leaderboard import Leaderboard, Mean, Standing, less_is_better
from inarch.report._draw import ticks
from inarch.report._evaluate_length_parts import length_parts
from inarch.report._evaluate_plots import Bar, Span, alt_text, capital, category_bars, spans
from inarch.report._evaluate_scales import (
    Scale,
    controlled,
    controlled_name,
    held_equal,
    official,
    scale_of,
)
from inarch.report._html import Markup, table, tag
from inarch.report._page import Part, fold, heading, paragraph, settings_table, slug
from inarch.report._svg import Figure
from inarch.report._words import count, leaves, listed

_MOST = 12
"""Models whose categories are drawn."""


def board_parts(board: Leaderboard) -> list[Part]:
    """Return all about one leaderboard, but its heading."""
    scale = scale_of(board.protocol)
    return [
        paragraph(verdict(board), kind="lead"),
        (_standings_figure(board, scale), *_behind_figure(board, scale)),
        _standings_table(board, scale),
        *_about_table(board, scale),
        *_categories(board, scale),
        *length_parts(board, scale),
        fold("How this was made", *_made(board)),
    ]


def verdict(board: Leaderboard) -> str:
    """Return who is first, and from whom that one is told apart."""
    scale, (first, *others) = scale_of(board.protocol), board.standings
    name, mean = first.result.model, first.whole
    got = f"{scale.form(mean.mean)}{scale.unit}"
    got += f" ({_between(mean, scale)})" if mean.n > 1 else ""
    if not others:
        prompts = "prompt" if mean.n == 1 else "prompts"
        return f"{name}: {scale.name} {got} over {count(mean.n)} {prompts}."
    kind = "lowest" if less_is_better(board.protocol) else "highest"
    said = f"Of {count(len(board.standings))} models {name} has the {kind} {scale.name}: {got}."
    close = [s.result.model for s in others if not _apart(s)]
    told = f"not told apart from {listed(close)}" if close else "told apart from all others"
    if len(others) == 1:
        told = f"{'not ' * bool(close)}told apart from {others[0].result.model}"
    elif len(close) == len(others):
        told = "not told apart from any other"
    return f"{said} Prompt by prompt it is {told}.{_fairest(board)}"


def _fairest(board: Leaderboard) -> str:
    """Return who is first with the same held equal for all; nothing where that is not known."""
    known = {s.result.model: c[0] for s in board.standings if (c := controlled(s.result))}
    kinds = {held_equal(standing.result) for standing in board.standings}
    if len(known) < len(board.standings) or len(kinds) > 1:
        return ""
    best = max(known, key=lambda model: known[model])
    return f" With {kinds.pop()} held equal {best} is first: {known[best]:.1f}%."


def _apart(standing: Standing) -> bool:
    """Tell whether the first differs from another; one prompt, which has no interval, cannot."""
    gap = standing.behind
    return gap is not None and gap.n > 1 and (gap.lower > 0 or gap.upper < 0)


# ---------------------------------------------------------------------------------- leaderboard


def _standings_figure(board: Leaderboard, scale: Scale) -> Figure:
    rows = [Span(s.result.model, s.whole.mean, *s.whole[1:3]) for s in board.standings]
    title = f"{scale.score}, with 95 % intervals"
    what = (
        f"leaderboard-{slug(scale.benchmark)}",
        capital(title),
        alt_text(title, rows, scale.form),
    )
    extent = scale.extent(end for row in rows for end in (row.lower, row.upper))
    return spans(what, rows, extent, scale.form, scale.middle)


def _behind_figure(board: Leaderboard, scale: Scale) -> tuple[Figure, ...]:
    """Return the first model's differences to the others, where there are any."""
    rows = [
        Span(s.result.model, gap.difference, gap.lower, gap.upper, strong=_apart(s))
        for s in board.standings
        if (gap := s.behind) is not None
    ]
    if not rows:
        return ()
    first = board.standings[0].result.model
    title = f"{first} less each other, prompt by prompt"
    ends = [0.0, *(end for row in rows for end in (row.lower, row.upper))]
    what = (f"behind-{slug(scale.benchmark)}", title, alt_text(title, rows, scale.signed))
    free = scale._replace(ends=None)
    return (spans(what, rows, free.extent(ends), scale.signed, 0.0),)


def _standings_table(board: Leaderboard, scale: Scale) -> Markup:
    results = [standing.result for standing in board.standings]
    more = [official(result) for result in results]
    fair = [controlled(result) for result in results]
    head = ["model", scale.score, "95 % interval", *more[0]]
    head += [controlled_name(board.protocol)] if any(fair) else []
    head += ["prompts", "first less this"]
    rows = []
    for standing, own, even in zip(board.standings, more, fair, strict=True):
        mean = standing.whole
        row = [standing.result.model, scale.form(mean.mean), _between(mean, scale)]
        row += own.values()
        row += [even[1] if even else "–"] if any(fair) else []
        rows.append([*row, count(mean.n), _gap(standing, scale)])
    shown = table(head, rows, f"Scores: {board.protocol.score}")
    return tag("div", shown, class_="whole")


def _about_table(board: Leaderboard, scale: Scale) -> list[Part]:
    """Return what a reader must know to read the table."""
    notes = ["Intervals are 95 %, by a bootstrap over prompts."]
    if scale.middle is not None:
        notes.append(f"The baseline itself gets {scale.middle:g}.")
    num = len(board.standings) - 1
    if num:
        notes.append(
            "Intervals that overlap do not say that two models are equal: look at the differences,"
            " which are taken on the prompts that both have."
        )
    if num > 1:
        notes.append(f"Their intervals are widened to hold for all {num} at once.")
    if len({standing.whole.n for standing in board.standings}) > 1:
        notes.append("The models do not all have the same prompts.")
    alpaca = board.protocol.benchmark == "alpaca_eval2"
    if alpaca and any(controlled(standing.result) for standing in board.standings):
        notes.append(
            "± is the official standard error; that of length control is about half of what draws"
            " of prompts give."
        )
    return [paragraph(" ".join(notes), kind="note")]


def _between(mean: Mean, scale: Scale) -> str:
    return f"{scale.form(mean.lower)} to {scale.form(mean.upper)}" if mean.n > 1 else "–"


def _gap(standing: Standing, scale: Scale) -> str:
    gap = standing.behind
    if gap is None:
        return "–"
    between = f" ({scale.signed(gap.lower)} to {scale.signed(gap.upper)})" if gap.n > 1 else ""
    return f"{scale.signed(gap.difference)}{between}"


# ------------------------------------------------------------------------------------ categories


def _categories(board: Leaderboard, scale: Scale) -> list[Part]:
    names = list(dict.fromkeys(name for s in board.standings for name in s.by_category))
    if not names:
        return []
    pick = min if less_is_better(board.protocol) else max
    best = {
        name: pick(s.by_category[name].mean for s in board.standings if name in s.by_category)
        for name in names
    }
    drawn = [s for s in board.standings if s.by_category][:_MOST]
    most = max(mean.upper for s in drawn for mean in s.by_category.values())
    ends = scale.ends or (0.0, ticks(0.0, max(0.0, most) or 1.0, beyond=True)[-1])
    figures = tuple(_bars(standing, best, ends, scale) for standing in drawn)
    head = ["category", *(standing.result.model for standing in board.standings)]
    rows = [
        (name or "none", *(_cell(s.by_category.get(name), scale) for s in board.standings))
        for name in names
    ]
    told = "A thin line is the 95 % interval; the tick is the best of all models in that category."
    left = len(board.standings) - len(drawn)
    told += f" {count(left)} models are in the table only." if left else ""
    return [
        heading("By category", 3),
        paragraph(told, kind="note"),
        figures,
        fold("The numbers", table(head, rows, "By category: mean, 95 % interval, prompts")),
    ]


def _bars(
    standing: Standing, best: dict[str, float], ends: tuple[float, float], scale: Scale
) -> Figure:
    rows = [
        Bar(name or "none", mean.mean, mean.lower, mean.upper, best[name])
        for name in best
        if (mean := standing.by_category.get(name)) is not None
    ]
    title = standing.result.model
    alt = f"{title}, {scale.score} by category: " + ", ".join(
        f"{row.name} {scale.form(row.mean)}" for row in rows
    )
    return category_bars((f"categories-{slug(title)}", title, alt), rows, ends, scale.form)


def _cell(mean: Mean | None, scale: Scale) -> str:
    if mean is None:
        return "–"
    return f"{scale.form(mean.mean)} ({_between(mean, scale)}), {count(mean.n)}"


# ---------------------------------------------------------------------------------- how it was made


def _made(board: Leaderboard) -> list[Markup]:
    """Return the protocol record, and how each result came about: once where all say the same."""
    record = {k: v for k, v in board.protocol.model_dump().items() if v}
    unknown = [k for k, v in board.protocol.model_dump().items() if not v]
    told = [settings_table("The protocol, which is the same for all", record)]
    if unknown:
        told.append(
            paragraph(f"Not known, or not of this benchmark: {listed(unknown)}.", kind="note")
        )
    by_model = {s.result.model: leaves(s.result.made) for s in board.standings if s.result.made}
    rows: list[tuple[str, str, str]] = []
    for key in dict.fromkeys(key for made in by_model.values() for key in made):
        values = {model: made.get(key, "–") for model, made in by_model.items()}
        if len(by_model) == len(board.standings) and len(set(values.values())) == 1:
            rows.append((key, "all", values[board.standings[0].result.model]))
        else:
            rows += [(key, model, value) for model, value in values.items()]
    if rows:
        shown = table(["", "model", "value"], rows, "How the results came about")
        told.append(tag("div", shown, class_="words long"))
    return told

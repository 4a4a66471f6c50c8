"""Pruning in the demo's report: a fused model with fewer blocks, and a small real one."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from inarch.report import _verdict as verdict
from inarch.report._html import Markup, table, tag
from inarch.report._page import Part, fold, heading, paragraph, slug
from inarch.report._results import Results
from inarch.report._scoreboard import gain_cell, seeds_of
from inarch.report._svg import Figure, Line, lines
from inarch.report._words import count, listed, percent, points

OURS = "block_pruner"


class _Found(NamedTuple):
    """The removals of a demo."""

    label: str
    """Of the model that loses blocks."""
    labels: Mapping[str, str]
    """Of the methods."""
    rows: Mapping[tuple[str, int, int], Mapping[str, Any]]
    """By method, removed blocks and seed."""
    last: int
    """Most blocks that BlockPruner removes."""

    def over_seeds(self, method: str, blocks: int, skill: str = "") -> dict[int, float]:
        """Return the share of right pieces per seed, over all skills or of one."""
        return {
            seed: row["piece_frac"][skill] if skill else _whole(row)
            for (key, gone, seed), row in self.rows.items()
            if (key, gone) == (method, blocks)
        }

    def ahead(self, method: str) -> dict[int, float]:
        """Return how much more BlockPruner leaves right after its last removal, per seed."""
        mine, other = (self.over_seeds(m, self.last) for m in (OURS, method))
        return {seed: mine[seed] - other[seed] for seed in mine if seed in other}

    def share(self, method: str) -> dict[int, float]:
        """Return the share of the parameters that is gone then, per seed."""
        rows = self.rows.items()
        return {k[2]: row["share"] for k, row in rows if k[:2] == (method, self.last)}


def pruning(results: Results) -> list[Part]:
    """Return what is left of models with fewer blocks; nothing where none lost any."""
    told = results.facts.get("pruned") or {}
    parts: list[Part] = []
    if told.get("removals"):
        parts += _removals(results, told)
    if told.get("stories"):
        parts += _stories(told["stories"], told.get("methods", {}))
    return [heading("With fewer blocks"), *parts] if parts else []


def _removals(results: Results, told: Mapping[str, Any]) -> list[Part]:
    rows = {(row["method"], row["blocks"], row["seed"]): row for row in told["removals"]}
    last = max(blocks for method, blocks, _ in rows if method == OURS)
    found = _Found(told["label"], told["methods"], rows, last)
    several = {key: num for key, num in told["draws"].items() if num > 1}
    drawn = "".join(
        f" Of {found.labels[k]}, {n} per seed are averaged." for k, n in several.items()
    )
    return [
        paragraph(
            f"{found.label} has {told['num_blocks']} blocks, attention and feed-forward. "
            "BlockPruner takes out, again and again, the block without which the model is least "
            f"surprised by {count(told['num_chats'])} chats of the corpus, mistakes and all. "
            "Nothing is trained after that. Methods that take whole layers lose two blocks at "
            f"once.{drawn}"
        ),
        _curves(found),
        tag("ul", *(tag("li", text) for text in _said(results, found))),
        _table(found, seeds_of(results)),
        fold("By skill, and what went", _by_skill(results, found), _orders(found)),
    ]


def _curves(found: _Found) -> tuple[Figure, ...]:
    """Return, per method, its mean over seeds, before those of the others in grey."""
    curves = {
        method: tuple(
            (float(blocks), 100 * statistics.fmean(found.over_seeds(method, blocks).values()))
            for blocks in sorted({gone for key, gone, _ in found.rows if key == method})
        )
        for method in found.labels
    }
    extent = max(value for curve in curves.values() for _, value in curve)
    figures = []
    for method, curve in curves.items():
        grey = [Line("", other, strong=False) for key, other in curves.items() if key != method]
        title = found.labels[method]
        each = listed(f"{value:.0f} after {blocks:.0f}" for blocks, value in curve)
        alt = f"Pieces right in per cent by removed blocks, {title}, means over seeds: {each}"
        what = (f"pruned-{slug(method)}", title, alt)
        drawn = [*grey, Line("", curve)]
        figures.append(lines(what, drawn, "pieces right, %", extent, _gone))
    return tuple(figures)


def _gone(blocks: float) -> str:
    return f"{blocks:g} blocks gone"


def _said(results: Results, found: _Found) -> list[str]:
    """Return what the numbers say, good or bad, a sentence each."""
    before, after = found.over_seeds(OURS, 0), found.over_seeds(OURS, found.last)
    said = [
        f"BlockPruner leaves {percent(_mean(after))} of the pieces right without {found.last} "
        f"blocks, which hold {percent(_mean(found.share(OURS)))} of the parameters; before, "
        f"{percent(_mean(before))} were right. The first block alone changes that by "
        f"{_range(_less(found.over_seeds(OURS, 1), before))}, in points."
    ]
    lost_in = {
        s: _mean(_less(found.over_seeds(OURS, found.last, s), found.over_seeds(OURS, 0, s)))
        for s in results.skills
    }
    said.append(f"By skill, in points: {listed(f'{s} {points(x)}' for s, x in lost_in.items())}.")
    beside = {m: found.ahead(m) for m in found.labels if m != OURS and found.ahead(m)}
    groups: dict[str, list[str]] = {}
    for method, gains in beside.items():
        text = f"{found.labels[method]} ({_range(gains)})"
        groups.setdefault(_verdict(gains), []).append(text)
    start = f"With {found.last} blocks gone"
    return said + [f"{start}, {how} {listed(them)}, in points." for how, them in groups.items()]


def _verdict(gains: Mapping[int, float]) -> str:
    values = gains.values()
    if len(values) == 1:
        return "in one seed, which shows little, BlockPruner is ahead of"
    if min(values) > 0:
        return "BlockPruner leaves more right in every seed than"
    if max(values) < 0:
        return "BlockPruner leaves less right in every seed than"
    return "it is not clear that BlockPruner differs from"


def _table(found: _Found, seeds: str) -> Markup:
    numbers = range(1, found.last + 1)
    rows = [
        (
            found.labels[method],
            *(_cell(found.over_seeds(method, blocks)) for blocks in numbers),
            percent(_mean(found.share(method))) if found.share(method) else "–",
            _ahead(found.ahead(method) if method != OURS else {}),
        )
        for method in found.labels
    ]
    head = ["blocks gone", *map(str, numbers), "parameters", "BlockPruner ahead by"]
    note = (
        f"Parameters: share that is gone with {found.last} blocks; a feed-forward block holds more "
        "than an attention block, so it differs. Ahead: in points, then too, seed by seed."
    )
    whole = _cell(found.over_seeds(OURS, 0))
    caption = f"{found.label}: pieces right, %, with all blocks {whole}{seeds}"
    return table(head, rows, caption, note)


def _by_skill(results: Results, found: _Found) -> Markup:
    rows = [("none gone", *(_cell(found.over_seeds(OURS, 0, s)) for s in results.skills))]
    rows += [
        (found.labels[m], *(_cell(found.over_seeds(m, found.last, s)) for s in results.skills))
        for m in found.labels
    ]
    caption = f"{found.last} blocks gone: pieces right, %{seeds_of(results)}"
    return table(["", *results.skills], rows, caption)


def _orders(found: _Found) -> Markup:
    rows = [
        (str(seed), found.labels[method], "; ".join(" ".join(names) for names in row["gone"]))
        for (method, blocks, seed), row in found.rows.items()
        if blocks == found.last
    ]
    return tag("div", table(["seed", "method", "first to last"], rows, "What went"), class_="words")


def _stories(told: Mapping[str, Any], labels: Mapping[str, str]) -> list[Part]:
    """Return what became of the small real model."""
    curves = told["perplexity"]
    whole, *_, cut = curves[OURS]
    rows = [("none", "0", percent(0.0), f"{whole['perplexity']:.2f}")]
    rows += [
        (
            labels.get(method, method),
            str(step["blocks"]),
            percent(step["share"]),
            f"{step['perplexity']:.2f}",
        )
        for method, curve in curves.items()
        for step in curve[1:]
    ]
    better = [labels.get(m, m) for m, curve in curves.items() if m != OURS and _beats(curve, cut)]
    said = (
        f"{told['model']} has {told['num_blocks']} blocks and no texts: half of the stories that "
        "it wrote itself chose what goes, the other half give the perplexity. Without "
        f"{listed(told['order'])} it is {cut['perplexity']:.2f}, before {whole['perplexity']:.2f}."
    )
    if better:
        said += f" As much or more goes, at a lower perplexity, by {listed(better)}."
    head = ["method", "blocks gone", "parameters gone", "perplexity"]
    note = "Every method until as much is gone as by BlockPruner; a single random order."
    return [
        heading("A small real model", 3),
        paragraph(said),
        table(head, rows, "Perplexity of stories that chose nothing", note),
        paragraph(tag("b", "All blocks: "), told["before"]),
        paragraph(tag("b", f"{cut['blocks']} gone, BlockPruner: "), told["after"]),
    ]


def _beats(curve: Sequence[Mapping[str, float]], cut: Mapping[str, float]) -> bool:
    """Tell whether a method removes as much as BlockPruner and leaves a lower perplexity."""
    return any(
        step["share"] >= cut["share"] - 1e-9 and step["perplexity"] < cut["perplexity"]
        for step in curve
    )


def _cell(values: Mapping[int, float]) -> str:
    if not values:
        return "–"
    sd = verdict.spread(values)
    return f"{100 * _mean(values):.1f}" + ("" if sd is None else f" ± {100 * sd:.1f}")


def _ahead(gains: Mapping[int, float]) -> object:
    if len(gains) < 2:
        return gain_cell(gains)
    each = " ".join(points(gain) for gain in gains.values())
    return tag("span", gain_cell(gains, with_spread=False), f" ({each})")


def _range(gains: Mapping[int, float]) -> str:
    ends = f", {points(min(gains.values()))} to {points(max(gains.values()))}"
    return points(_mean(gains)) + (ends if len(gains) > 1 else "")


def _whole(row: Mapping[str, Any]) -> float:
    return statistics.fmean(row["piece_frac"].values())


def _less(mine: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {seed: mine[seed] - other[seed] for seed in mine if seed in other}


def _mean(values: Mapping[int, float]) -> float:
    return statistics.fmean(values.values())

"""Alignment in the demo's report: what preferences and more examples made of the target."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from inarch.report._html import Markup, table, tag
from inarch.report._page import Part, fold, heading, paragraph
from inarch.report._results import Results
from inarch.report._scoreboard import dot_plot, gain_cell, seeds_of
from inarch.report._svg import Figure, Row
from inarch.report._verdict import spread
from inarch.report._words import count, listed, percent, points

BEFORE, FIRST, OURS = "target", "target_sft", "wrpo"
SEFT, OWN = "seft", "self_sft"


class _Found(NamedTuple):
    """The aligned models of a demo."""

    labels: Mapping[str, str]
    """The target as it was, then the models that were made of it."""
    num_steps: Mapping[str, int]
    rows: Mapping[tuple[str, int], Mapping[str, Any]]
    """By model and seed."""

    def over_seeds(self, name: str, metric: str, skill: str = "") -> dict[int, float]:
        """Return a metric of a model per seed, over all skills or of one."""
        return {
            seed: row[metric][skill] if skill else statistics.fmean(row[metric].values())
            for (key, seed), row in self.rows.items()
            if key == name
        }

    def gains(self, mine: str, other: str, metric: str) -> dict[int, float]:
        """Return the paired differences of two models."""
        a, b = self.over_seeds(mine, metric), self.over_seeds(other, metric)
        return {seed: a[seed] - b[seed] for seed in a if seed in b}


def aligning(results: Results) -> list[Part]:
    """Return what the target learnt from answers and preferences; nothing where it did not."""
    told = results.facts.get("aligned")
    if not told:
        return []
    rows = {(row["name"], row["seed"]): row for row in told["scores"]}
    found = _Found(told["labels"], told["num_steps"], rows)
    return [
        heading("Aligned with what the sources answer"),
        paragraph(_setting(told)),
        (
            _figure(found, "piece_frac", "Most probable answers: pieces right, %"),
            _figure(found, "reward", "Sampled answers: mean reward, %"),
        ),
        tag("ul", *(tag("li", text) for text in _said(found)), tag("li", _revised(told))),
        _table(found, seeds_of(results)),
        fold(
            "By skill, what there was to learn from, and what the reviser did",
            _by_skill(results, found),
            _rows(told),
            _rounds(told),
        ),
    ]


def _setting(told: Mapping[str, Any]) -> str:
    first, *_ = told["build"].values()
    return (
        "Here the target, as it was taught, hears answers alone and no beliefs: each model answers "
        f"a prompt of the corpus {told['num_samples']} times, and the reward of an answer is its "
        "share of right pieces. The target learns the best answers of the sources to about "
        f"{count(first['prompts_for_sft'])} of {count(first['prompts'])} prompts. From there "
        f"three ways go on for {told['num_steps'][OURS]} steps each, on the other prompts: WRPO "
        "prefers the best answers, a source's and its own, to its own worst; DPO does so with its "
        "own alone; more SFT learns the source's. SEFT needs no answers to its prompts: a reviser, "
        "which begins as the fused model and learns from the rewarded answers for "
        f"{told['num_reviser_steps']} small steps of its own, keeps what the "
        f"target answers or writes it anew, in {len(next(iter(told['rounds'].values())))} rounds "
        f"and {told['num_steps'][SEFT]} steps; beside it the target learns its own answers as they "
        "are."
    )


def _figure(found: _Found, metric: str, title: str) -> Figure:
    rows = [
        Row(
            label,
            tuple(100 * value for value in found.over_seeds(name, metric).values()),
            strong=name == OURS,
        )
        for name, label in found.labels.items()
    ]
    return dot_plot(f"aligned-{metric}", title, rows, (0.0, 100.0), "{:.0f}".format)


def _said(found: _Found) -> list[str]:
    """Return what the numbers say, good or bad, a sentence each."""
    began = found.gains(FIRST, BEFORE, "piece_frac")
    return [
        f"The first stage alone changes the pieces right by {_range(began)} points.",
        *(
            f"WRPO against {found.labels[other]}, in points: {_verdict(found, OURS, other)}"
            for other in (FIRST, "dpo", "sft")
        ),
        *(
            f"SEFT against {found.labels[other]}, in points: {_verdict(found, SEFT, other)}"
            for other in (FIRST, OWN)
        ),
    ]


def _revised(told: Mapping[str, Any]) -> str:
    """Return what the reviser made of the answers, over all rounds and seeds."""
    before, after = (
        percent(statistics.fmean(one[key] for rounds in told["rounds"].values() for one in rounds))
        for key in ("before", "after")
    )
    return f"In SEFT, its reviser turns answers of mean reward {before} into ones of {after}."


def _verdict(found: _Found, mine: str, other: str) -> str:
    gains = found.gains(mine, other, "piece_frac")
    sampled = found.gains(mine, other, "reward")
    values = gains.values()
    if len(values) == 1:
        how = "one seed, which shows little"
    elif min(values) > 0:
        how = "more right in every seed"
    elif max(values) < 0:
        how = "less right in every seed"
    else:
        how = "no clear difference"
    return f"{how}, {_range(gains)}; sampled {_range(sampled)}."


def _table(found: _Found, seeds: str) -> Markup:
    rows = [
        (
            label,
            str(found.num_steps.get(name, "–")),
            _cell(found.over_seeds(name, "piece_frac")),
            _gain(found, name, "piece_frac"),
            _cell(found.over_seeds(name, "reward")),
            _gain(found, name, "reward"),
        )
        for name, label in found.labels.items()
    ]
    beside = f"against {found.labels[FIRST]}"
    head = ["", "steps", "pieces right, %", beside, "sampled, %", beside]
    note = (
        "Steps: those of its own last stage. Sampled: mean reward of answers at temperature 0.8, "
        "which is what preferences are to raise. Differences are in points, seed by seed."
    )
    return table(head, rows, f"Aligned models, mean of the skills{seeds}", note)


def _by_skill(results: Results, found: _Found) -> Markup:
    rows = [
        (label, *(_cell(found.over_seeds(name, "piece_frac", s)) for s in results.skills))
        for name, label in found.labels.items()
    ]
    caption = f"Aligned models: pieces right, %{seeds_of(results)}"
    return table(["", *results.skills], rows, caption)


def _rows(told: Mapping[str, Any]) -> Markup:
    rows = [
        (
            seed,
            count(build["prompts"]),
            count(build["prompts_for_sft"]),
            count(build["rows"]),
            percent(build["source_above_target_frac"]),
            listed(f"{name} {number}" for name, number in build["wins"].items()),
        )
        for seed, build in told["build"].items()
    ]
    head = ["seed", "prompts", "for SFT", "triples", "source's is better", "best answers by"]
    note = "Prompts to which all answers of the target are worth the same give no triple."
    return tag("div", table(head, rows, "What there was to learn from", note), class_="words")


def _rounds(told: Mapping[str, Any]) -> Markup:
    rows = [
        (
            seed,
            str(number),
            count(one["num_prompts"]),
            percent(one["before"]),
            percent(one["after"]),
            *("–" if one[key] is None else percent(one[key]) for key in _KEPT),
        )
        for seed, rounds in told["rounds"].items()
        for number, one in enumerate(rounds, 1)
    ]
    head = ["seed", "round", "prompts", "before", "after", "right, kept", "wrong, kept"]
    note = (
        "Before and after: mean reward of what the target answers, and of what the reviser makes "
        "of it; the reviser sees neither rewards nor right answers then. An answer is right if all "
        "of it is; the reviser has learnt to keep what has one wrong piece in three at most."
    )
    return tag("div", table(head, rows, "What the reviser of SEFT did", note), class_="words")


_KEPT = ("kept_right", "kept_wrong")


def _cell(values: Mapping[int, float]) -> str:
    if not values:
        return "–"
    sd = spread(values)
    mean = f"{100 * statistics.fmean(values.values()):.1f}"
    return mean + ("" if sd is None else f" ± {100 * sd:.1f}")


def _gain(found: _Found, name: str, metric: str) -> object:
    """Return a paired difference as a cell: its mean, then seed by seed."""
    gains = {} if name == FIRST else found.gains(name, FIRST, metric)
    if len(gains) < 2:
        return gain_cell(gains)
    each = " ".join(points(gain) for gain in gains.values())
    return tag("span", gain_cell(gains, with_spread=False), f" ({each})")


def _range(gains: Mapping[int, float]) -> str:
    mean = points(statistics.fmean(gains.values()))
    if len(gains) == 1:
        return mean
    return f"{mean} ({points(min(gains.values()))} to {points(max(gains.values()))})"

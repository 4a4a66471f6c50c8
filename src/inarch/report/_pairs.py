"""FuseChat's second stage in the demo's report: the pairs of each seed, merged into one model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from inarch.report._html import Markup, join, table, tag
from inarch.report._page import Part, heading, paragraph
from inarch.report._results import PAIR, Results
from inarch.report._scoreboard import dot_plot, gain_cell, score_cell, seeds_of
from inarch.report._svg import Figure, Row
from inarch.report._words import listed, points, signed

FAR = -0.1
"""Merges that lose more than this are told below the plot of differences: its scale would be
theirs alone."""


class _Found(NamedTuple):
    """Shares of right pieces over all skills, each by seed."""

    plain: dict[int, float]
    middle: dict[int, float]
    """The mean of the pairs of a seed."""
    best: dict[int, float]
    """The best of the pairs of a seed, chosen by these very numbers."""
    merges: dict[str, dict[int, float]]


def merging(results: Results) -> list[Part]:
    """Return what the merges made of the pairs; nothing where nothing was merged."""
    pairs = [key for key in results.keys("fusion") if key.startswith(PAIR)]
    scored = {key: _whole(results, key) for key in results.keys("merge")}
    found = _Found(
        _whole(results, results.baseline),
        _across(results, pairs, statistics.fmean),
        _across(results, pairs, max),
        {key: scores for key, scores in scored.items() if scores},
    )
    if not found.merges or not found.middle:
        return []
    return [
        heading("Merging the pairs"),
        paragraph(
            f"FuseChat's second stage makes one model of the {len(pairs)} pairs of a seed, from "
            "their weights alone. A merge costs the training of all its pairs, so it is measured "
            "against their mean, too."
        ),
        (_scores(results, found), *_differences(results, found)),
        tag("ul", *(tag("li", text) for text in _said(results, found))),
        _table(results, found),
    ]


def _scores(results: Results, found: _Found) -> Figure:
    before = {
        results.label(results.baseline): found.plain,
        "mean of the pairs": found.middle,
        "best pair of each seed": found.best,
    }
    rows = [Row(label, _percent(scores)) for label, scores in before.items()]
    rows += [Row(results.label(k), _percent(s), strong=True) for k, s in found.merges.items()]
    title = "Merged pairs, mean of the skills: pieces right, %"
    return dot_plot("merges", title, rows, (0.0, 100.0), "{:.0f}".format)


def _differences(results: Results, found: _Found) -> tuple[Figure, ...]:
    beside = {key: _less(scores, found.middle) for key, scores in found.merges.items()}
    near = {key: gains for key, gains in beside.items() if gains and _mean(gains) > FAR}
    if not near:
        return ()
    rows = [Row(results.label(key), _percent(gains), strong=True) for key, gains in near.items()]
    values = [value for row in rows for value in row.values]
    extent = (min(0.0, *values) - 1, max(0.0, *values) + 1)
    title = "Difference to the mean of the pairs, points"
    return (dot_plot("merges-gains", title, rows, extent, signed),)


def _said(results: Results, found: _Found) -> list[str]:
    """Return what the numbers say, good or bad, a sentence each."""
    beside = {key: _less(scores, found.middle) for key, scores in found.merges.items()}
    beside = {key: gains for key, gains in beside.items() if gains}
    above = [results.label(key) for key, gains in beside.items() if min(gains.values()) > 0]
    below = [results.label(key) for key, gains in beside.items() if max(gains.values()) < 0]
    said = [
        f"{_number(above, len(beside))} more right than the mean of the pairs in every seed"
        + (f": {listed(above)}." if above else "."),
        f"{_number(below, len(beside))} less in every seed"
        + (f": {listed(below)}." if below else "."),
    ]
    far = {key: _mean(gains) for key, gains in beside.items() if _mean(gains) <= FAR}
    if far:
        losses = listed(f"{results.label(key)} ({points(loss)})" for key, loss in far.items())
        said.append(f"Too far behind the pairs for the second plot, in points: {losses}.")
    if beside:
        said += _best(results, found, max(beside, key=lambda key: _mean(beside[key])))
    return said


def _best(results: Results, found: _Found, key: str) -> list[str]:
    """Return how the merge that gains most stands against all else."""
    label, scores = results.label(key), found.merges[key]
    rivals = {
        "the mean of the pairs": found.middle,
        "the best pair of the seed": found.best,
        results.label(results.baseline): found.plain,
    }
    single = [other for other in results.keys("fusion") if not other.startswith(PAIR)]
    rivals |= {f"{results.label(o)}, one training": _whole(results, o) for o in single}
    told = [
        f"{_range(gains)} against {rival}"
        for rival, gains in ((name, _less(scores, other)) for name, other in rivals.items())
        if gains
    ]
    return [
        f"The best of them on average, {label}, in points: {'; '.join(told)}. It is the best of "
        f"{len(found.merges)} by these very numbers, which flatters it."
    ]


def _table(results: Results, found: _Found) -> Markup:
    sources = [model.name for model in results.models if model.role == "source"]
    rows = [
        (
            results.label(key),
            score_cell(results, key, "", "piece_frac"),
            _gain_cell(_less(scores, found.plain)),
            _gain_cell(_less(scores, found.middle)),
            score_cell(results, key, "", "bits_per_byte"),
            *(_coefficient(results, key, source) for source in sources),
        )
        for key, scores in found.merges.items()
    ]
    head = ["merge", "pieces right, %", "against plain", "against the pairs", "bits per byte"]
    note = (
        "Under the name of a source: the weight of its pair's change, mean over tensors and seeds. "
        "–: it differs from element to element."
    )
    caption = f"Merges of the pairs{seeds_of(results)}"
    return table([*head, *sources], rows, caption, note)


def _gain_cell(gains: Mapping[int, float]) -> object:
    """Return a paired difference in points as a cell of a table: its mean, then seed by seed."""
    if len(gains) < 2:
        return gain_cell(gains)
    each = " ".join(points(gain) for gain in gains.values())
    return join([gain_cell(gains, with_spread=False), f" ({each})"])


def _coefficient(results: Results, key: str, source: str) -> str:
    """Return the mean weight of a source's pair as a cell of a table."""
    known = [weights for weights in results.merges[key].get("coefficients", ()) if weights]
    return f"{statistics.fmean(w[source] for w in known):.3f}" if known else "–"


def _whole(results: Results, key: str) -> dict[int, float]:
    return results.over_seeds(key, "", "piece_frac")


def _across(
    results: Results, keys: list[str], fold: Callable[[Iterable[float]], float]
) -> dict[int, float]:
    """Return one number for several models per seed, where all of them have scores."""
    found = [_whole(results, key) for key in keys]
    seeds = [seed for seed in results.seeds if found and all(seed in scores for scores in found)]
    return {seed: fold([scores[seed] for scores in found]) for seed in seeds}


def _less(mine: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    """Return the difference per seed, where both have scores."""
    return {seed: mine[seed] - other[seed] for seed in mine if seed in other}


def _mean(values: Mapping[int, float]) -> float:
    return statistics.fmean(values.values())


def _percent(values: Mapping[int, float]) -> tuple[float, ...]:
    return tuple(100 * value for value in values.values())


def _range(gains: Mapping[int, float]) -> str:
    """Return a paired difference: its mean, and its ends where there are several seeds."""
    ends = f" ({points(min(gains.values()))} to {points(max(gains.values()))})"
    return points(_mean(gains)) + (ends if len(gains) > 1 else "")


def _number(labels: list[str], total: int) -> str:
    return f"{len(labels) or 'None'} of {total} merges {'gets' if len(labels) < 2 else 'get'}"

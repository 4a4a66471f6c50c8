"""What a demo shows, in sentences made of its numbers: what helped, and what did not.

A gain is the difference to plain continued training on the same tokens, seed by seed. It is called
clear where it is above zero in every seed; with one seed nothing is.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from inarch.report._html import Markup, tag
from inarch.report._results import Results
from inarch.report._words import listed, percent, points, signed


def summary(results: Results) -> str:
    """Return the demo in one or two sentences."""
    fused = ranked(results)
    plain = mean(results.over_seeds(results.baseline, "", "piece_frac"))
    if plain is None:
        return "Plain continued training has no scores, so there is nothing to compare with."
    name = results.label(results.baseline)
    start = f"{name[:1].upper()}{name[1:]} gets {percent(plain)} of the answers' pieces right"
    if not fused:
        return f"{start}; nothing that was fused has scores beside it."
    best, gains = fused[0]
    mine = mean(results.over_seeds(best, "", "piece_frac"))
    which = f"the best of {len(fused)} that were fused, " if len(fused) > 1 else ""
    return (
        f"{start}, averaged over the skills; {results.label(best)}, {which}"
        f"{percent(mine or 0.0)}: {_gain(gains)}."
    )


def helped(results: Results) -> list[Markup]:
    """Return, for each fused variant that gained on average, by how much and where."""
    items = []
    for key, gains in ranked(results):
        if statistics.fmean(gains.values()) <= 0:
            continue
        skills = {s: results.gains(key, s) for s in results.skills}
        by_skill = listed(
            f"{s} {points(statistics.fmean(g.values()))}" for s, g in skills.items() if g
        )
        items.append(
            tag("li", tag("b", results.label(key)), f": {_gain(gains)}. By skill: {by_skill}.")
        )
    if not items:
        items.append(tag("li", "On average over the skills nothing that was fused got more pieces "
                         "right than plain continued training."))  # fmt: skip
    return items


def fell_short(results: Results) -> list[Markup]:
    """Return where fusion lost, where it is not clear that it gained, and what it is not."""
    items = [item for key, _ in ranked(results) for item in _losses(results, key)]
    if not items and ranked(results):
        items.append(tag("li", "No fused variant fell behind plain continued training, in no skill "
                         f"and in none of {_seeds(len(results.seeds))}."))  # fmt: skip
    return [*items, *_controls(results), *_experts(results), *_caution(results)]


def ranked(results: Results) -> list[tuple[str, dict[int, float]]]:
    """Return the fused variants with their gains over all skills, the best first."""
    found = [(key, results.gains(key, "")) for key in results.keys("fusion")]
    scored = [(key, gains) for key, gains in found if gains]
    return sorted(scored, key=lambda item: -statistics.fmean(item[1].values()))


def mean(values: Mapping[int, float]) -> float | None:
    """Return the mean over seeds, None without any."""
    return statistics.fmean(values.values()) if values else None


def spread(values: Mapping[int, float]) -> float | None:
    """Return the standard deviation over seeds (n - 1), None with fewer than two."""
    return statistics.stdev(values.values()) if len(values) > 1 else None


def _losses(results: Results, key: str) -> list[Markup]:
    """Return one sentence per kind of shortfall of a fused variant."""
    label, found = results.label(key), []
    overall = results.gains(key, "")
    if statistics.fmean(overall.values()) <= 0:
        found.append(f"over all skills {_gain(overall)}")
    for skill in results.skills:
        gains = results.gains(key, skill)
        if not gains or min(gains.values()) > 0:
            continue
        verdict = "worse in" if max(gains.values()) < 0 else "no clear gain in"
        found.append(f"{verdict} {skill} ({_range(gains)})")
    bits = results.gains(key, "", "bits_per_byte")
    if bits and statistics.fmean(bits.values()) > 0:
        found.append(
            "it is more surprised by the right answers than plain training, by "
            f"{signed(statistics.fmean(bits.values()), 3)} bits per byte"
        )
    return [tag("li", tag("b", label), f": {'; '.join(found)}.")] if found else []


def _controls(results: Results) -> list[Markup]:
    """Return how far other means go, beside the best that was fused."""
    best = next(iter(ranked(results)), None)
    items = []
    for key in results.keys("control"):
        gains = results.gains(key, "")
        if not gains or best is None:
            continue
        both = [best[1][seed] - gains[seed] for seed in gains if seed in best[1]]
        if not both:
            continue
        ahead = statistics.fmean(both)
        order = "more than" if ahead > 0 else "less than" if ahead < 0 else "the same as"
        text = f" (for scale): {_gain(gains)}. {results.label(best[0])} gains {order} that."
        items.append(tag("li", tag("b", results.label(key)), text))
    return items


def _experts(results: Results) -> list[Markup]:
    """Return the skills in which a source is still better than the best that was fused."""
    best = next(iter(ranked(results)), None)
    if best is None:
        return []
    sources = [model.name for model in results.models if model.role == "source"]
    behind = []
    for skill in results.skills:
        own = {name: mean(results.over_seeds(name, skill, "piece_frac")) for name in sources}
        known = {name: value for name, value in own.items() if value is not None}
        mine = mean(results.over_seeds(best[0], skill, "piece_frac"))
        if not known or mine is None:
            continue
        expert = max(known, key=lambda name: known[name])
        if known[expert] > mine:
            behind.append(f"{skill} ({expert} {percent(known[expert])}, {percent(mine)} here)")
    if not behind:
        return []
    return [tag("li", f"{results.label(best[0])} stays below the expert in {listed(behind)}.")]


def _caution(results: Results) -> list[Markup]:
    """Return how far a reader may trust the above."""
    num = len(results.seeds)
    if num == 1:
        text = "This is one seed: an effect cannot be told from chance. Give --seed more than once."
    else:
        text = (
            f"{num} seeds are few. The spreads are standard deviations over seeds; a gain smaller "
            "than its spread may be chance."
        )
    return [tag("li", text)]


def _gain(gains: Mapping[int, float]) -> str:
    """Return a paired difference with all that is needed to judge it."""
    text = f"{points(statistics.fmean(gains.values()))} points against plain training"
    if len(gains) == 1:
        return f"{text} (one seed)"
    above = sum(gain > 0 for gain in gains.values())
    below = sum(gain < 0 for gain in gains.values())
    seeds = f"above it in {above} of {len(gains)} seeds"
    if len(gains) in (above, below):
        seeds = f"{'above' if above else 'below'} it in every seed"
    return f"{text} ({_extremes(gains)}; {seeds})"


def _range(gains: Mapping[int, float]) -> str:
    """Return a paired difference in few words."""
    middle = points(statistics.fmean(gains.values()))
    return middle if len(gains) == 1 else f"{middle}, {_extremes(gains)}"


def _extremes(gains: Mapping[int, float]) -> str:
    return f"{points(min(gains.values()))} to {points(max(gains.values()))}"


def _seeds(number: int) -> str:
    return f"{number} seed" if number == 1 else f"{number} seeds"

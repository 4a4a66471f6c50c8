"""The report of `inarch demo`: what the models know, what fusion brought, and where it did not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from inarch.io.runs import MANIFEST
from inarch.report import _verdict as verdict
from inarch.report._aligns import aligning
from inarch.report._fuse import LABEL, believed, provenance
from inarch.report._html import Markup, join, table, tag
from inarch.report._page import Page, Part, figures_of, fold, heading, paragraph, slug
from inarch.report._pairs import merging
from inarch.report._prunes import pruning
from inarch.report._results import PAIR, Results, read_results
from inarch.report._runs import Run, read_run
from inarch.report._scoreboard import every_number, knowledge, outcome
from inarch.report._svg import Line, lines
from inarch.report._words import count, duration, listed, percent


def demo_page(folder: Path) -> Page:
    """Return the report of a demo folder."""
    results = read_results(folder)
    runs = _runs(folder)
    parts: list[Part] = [
        paragraph(verdict.summary(results), kind="lead"),
        *_gaps(results, runs),
        _facts(results),
        *knowledge(results),
        *outcome(results),
        heading("What helped"),
        tag("ul", *verdict.helped(results)),
        heading("What did not"),
        tag("ul", *verdict.fell_short(results)),
        *merging(results),
        *pruning(results),
        *aligning(results),
        *every_number(results),
        *_routing(results),
        *_match(results),
        *_sentence(results),
        *_curves(runs, results),
        heading("How to repeat it"),
        paragraph(tag("code", " ".join(["inarch demo", *(f"--seed {s}" for s in results.seeds)]))),
        fold("Settings and versions of every run", *(provenance(place, r) for place, r in runs)),
    ]
    return Page("inarch demo: can one model learn what others know?", parts)


def _runs(folder: Path) -> list[tuple[str, Run]]:
    """Return the runs that trained the target on, each with its folder's path below the demo's."""
    found = []
    for pattern in ("seed-*/fused/*", "seed-*/fused/*/pairs/*"):
        for path in sorted(folder.glob(f"{pattern}/{MANIFEST}")):
            home = path.parent
            name = f"{PAIR}{home.name}" if home.parent.name == "pairs" else home.name
            found.append((str(home.relative_to(folder)), read_run(home, name)))
    return found


def _gaps(results: Results, runs: Sequence[tuple[str, Run]]) -> list[Part]:
    """Return a warning for whatever is missing."""
    parts: list[Part] = []
    if not results.whole:
        parts.append(paragraph(
            "This demo has not come to its end. What follows is what there is of it; the same "
            "command goes on where it stopped.", kind="warn"))  # fmt: skip
    named = [model.name for model in results.models] + list(results.variants)
    for seed in results.seeds:
        absent = [
            results.label(name)
            for name in named
            if any((seed, name, skill) not in results.scores for skill in results.skills)
        ]
        if absent:
            parts.append(paragraph(
                f"Seed {seed} has no scores of {listed(absent)}. Means are over the seeds that "
                "have them, differences over those that have both.", kind="warn"))  # fmt: skip
    stopped = [place for place, run in runs if not run.done]
    if stopped:
        parts.append(paragraph(f"Not finished: {listed(stopped)}.", kind="warn"))
    return parts


_FACTS = {"num_test": "prompts per skill", "num_chats": "chats to train on", "epochs": "epochs"}


def _facts(results: Results) -> Markup:
    told = results.facts
    shown: dict[str, object] = {"seeds": ", ".join(map(str, results.seeds)) or "none"}
    shown |= {name: count(told[key]) for key, name in _FACTS.items() if key in told}
    if "wall_s" in told:
        shown["wall time"] = duration(told["wall_s"])
    return figures_of(shown)


def _routing(results: Results) -> list[Part]:
    """Return who was believed by skill; variants that chose alike share one picture."""
    alike: dict[str, list[str]] = {}
    for key, winners in results.winners.items():
        alike.setdefault(json.dumps(winners, sort_keys=True), []).append(key)
    if not alike:
        return []
    order = [*(model.name for model in results.models), LABEL]
    shown = [
        believed(
            results.winners[keys[0]],
            order,
            f"believed-{slug(keys[0])}",
            listed(map(results.label, keys)),
        )
        for keys in alike.values()
    ]
    return [
        heading("Who was believed, % of documents"),
        tuple(figure for figure, _ in shown),
        fold("The numbers", *(numbers for _, numbers in shown)),
    ]


def _match(results: Results) -> list[Part]:
    if not results.match:
        return []
    rows = [
        (
            report["source"],
            *(count(report[key]) for key in ("target_tokens", "available", "used", "wrong")),
            *(percent(report[key]) for key in ("exact_share", "mapped_mass")),
        )
        for report in results.match
    ]
    head = ["source", "target tokens", "shared ends", "used", "wrong", "same bytes", "with a home"]
    note = (
        "The target can listen where a token of its own and one of the source end at the same byte "
        "(shared ends). Same bytes: share of the source's tokens that the target has too. With a "
        "home: those that some token of the target stands for."
    )
    return [heading("How the tokens match"), table(head, rows, "Sources onto the target", note)]


def _sentence(results: Results) -> list[Part]:
    if not results.sentence:
        return []
    shown = [
        join([tag("h3", name), tag("p", *(tag("span", t) for t in tokens), class_="tokens")])
        for name, tokens in results.sentence.items()
    ]
    return [heading("One sentence, as each model reads it"), join(shown)]


def _curves(runs: Sequence[tuple[str, Run]], results: Results) -> list[Part]:
    """Return, per variant, its curve of every seed before those of all others in grey."""
    curves = [(run.name, run.curve("clm") or run.curve("loss")) for _, run in runs]
    curves = [(name, curve) for name, curve in curves if curve]
    if not curves:
        return []
    extent = max(value for _, curve in curves for _, value in curve)
    figures = []
    named = {name for name, _ in curves}
    for name in [key for key in results.variants if key in named]:
        own = [Line("", curve) for other, curve in curves if other == name]
        others = [Line("", curve, strong=False) for other, curve in curves if other != name]
        ends = listed(f"{line.points[-1][1]:.2f}" for line in own)
        alt = f"Next-token loss of {results.label(name)} over training; it ends at {ends}"
        what = (f"loss-{slug(name)}", results.label(name), alt)
        figures.append(lines(what, [*others, *own], "next-token loss, nats per token", extent))
    note = (
        "The loss on the corpus itself, whose answers are partly wrong: a lower one may only mean "
        "that more mistakes were learnt by heart. Grey: the other variants."
    )
    return [heading("Training"), paragraph(note), tuple(figures)]

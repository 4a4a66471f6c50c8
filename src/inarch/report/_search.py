"""The page of `inarch merge search`: how good the trials were, and what the best one is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.io.files import read_metrics
from inarch.io.runs import MANIFEST
from inarch.report._html import Markup, table, tag
from inarch.report._merge import RECIPE, TENSORS, explained
from inarch.report._page import Page, Part, figures_of, fold, heading, paragraph, settings_table
from inarch.report._runs import read_json
from inarch.report._trials_plot import trials
from inarch.report._words import count, duration, listed

TRIALS, MODEL = "trials.jsonl", "model"


class Search(NamedTuple):
    """Trials, and what they are compared with."""

    rows: Sequence[Mapping[str, Any]]
    """As ``trials.jsonl`` has them: inputs and trials."""
    best: Mapping[str, Any] | None
    """The row of the best trial, with ``held_out``; None before there is one."""
    unit: str
    """What a score is."""
    lower_is_better: bool

    @property
    def inputs(self) -> list[Mapping[str, Any]]:
        """Return the rows of the inputs alone."""
        return [row for row in self.rows if row["kind"] == "input"]

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        """Return the rows of the trials that have a score."""
        return [r for r in self.rows if r["kind"] == "trial" and r["score"] is not None]

    def ranked(self) -> list[Mapping[str, Any]]:
        """Return the trials that have a score, the best first."""
        sign = 1 if self.lower_is_better else -1
        return sorted(self.trials, key=lambda row: sign * row["score"])

    def verdict(self) -> str:
        """Return in a sentence whether the search beats the plain mean and the inputs alone."""
        if self.best is None:
            return "There is no trial with a score yet."
        part = "held_out" if self.best["held_out"] is not None else "score"
        where = "what was held out" if part == "held_out" else "the text that it was chosen on"
        mean = next((row for row in self.trials if row["trial"] == 0), None)
        sign = 1 if self.lower_is_better else -1
        alone = min(self.inputs, key=lambda row: sign * row[part], default=None)
        score = self.best[part]
        start = f"{self.best['name'][:1].upper()}{self.best['name'][1:]} is the best of "
        start += f"{count(len(self.trials))}: {_score(score)} {self.unit} on {where}"
        beside = []
        if mean is not None and mean is not self.best and self.best["trial"] != 0:
            beside.append((f"the plain mean ({_score(mean[part])})", sign * (score - mean[part])))
        if alone is not None:
            name = Path(alone["name"]).name
            beside.append((f"{name} alone ({_score(alone[part])})", sign * (score - alone[part])))
        if not beside:
            return f"{start}."
        order = ("better than", "no better than")
        groups = [
            f"{order[worse]} {listed(name for name, gap in beside if (gap >= 0) == worse)}"
            for worse in (False, True)
            if any((gap >= 0) == worse for _, gap in beside)
        ]
        return f"{start}, {', but '.join(groups)}."


def search_page(folder: Path) -> Page:
    """Return the page of a search, which may be unfinished."""
    manifest = read_json(folder / MANIFEST)
    path = folder / TRIALS
    found = _search_of(manifest, read_metrics(path) if path.exists() else [])
    parts: list[Part] = []
    if manifest.get("status") != "done":
        parts.append(paragraph(
            "This search is not finished. The same command goes on where it stopped.",
            kind="warn"))  # fmt: skip
    failed = sum(row["kind"] == "trial" and row["score"] is None for row in found.rows)
    shown = {
        "trials": count(len(found.trials)),
        "without a score": count(failed),
        "time of trials": duration(sum(r["wall_s"] for r in found.rows if r["kind"] == "trial")),
        "strategy": str((manifest.get("settings") or {}).get("strategy", "–")),
    }
    parts += [paragraph(found.verdict(), kind="lead"), figures_of(shown)]
    if found.trials:
        parts += [(_plot(found),), _beside(found), *_best(folder, found)]
        parts.append(fold("All trials", _all(found)))
    notes = [row for row in found.rows if row.get("error")]
    if notes:
        items = (tag("li", f"{row['name']}: {row['error']}") for row in notes)
        parts += [heading("Trials without a score"), tag("ul", *items)]
    settings = manifest.get("settings") or {}
    parts += [heading("How to repeat it"), fold("Settings", settings_table("Settings", settings))]
    return Page(f"Merge search: {folder.resolve().name}", parts)


def _search_of(manifest: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Search:
    facts = manifest.get("facts") or {}
    score = (manifest.get("settings") or {}).get("score") or {}
    lower = score.get("bits_per_byte") is not None
    unit = "bits per byte" if lower else "share of right pieces"
    best = next((r for r in rows if r.get("trial", -1) == facts.get("best")), None)
    found = Search(rows, best and {**best, "held_out": facts.get("held_out")}, unit, lower)
    ranked = found.ranked()
    return found if best or not ranked else found._replace(best=ranked[0])


def _plot(found: Search) -> Any:
    points = tuple((float(row["trial"]), float(row["score"])) for row in found.trials)
    lines = [(Path(row["name"]).name, float(row["score"])) for row in found.inputs]
    best = found.ranked()[0]
    alt = (
        f"{found.unit} of {len(points)} trials; the best is {best['name']} with "
        f"{_score(best['score'])}"
    )
    title = f"Trials, {'lower' if found.lower_is_better else 'higher'} is better"
    return trials(("trials", title, alt), points, lines, found.unit, found.lower_is_better)


def _beside(found: Search) -> Markup:
    mean = [row for row in found.trials if row["trial"] == 0]
    rows = [*([found.best] if found.best else []), *mean, *found.inputs]
    lines = [
        (row["name"], _score(row["score"]), _score(row["held_out"]))
        for row in {row["name"]: row for row in reversed(rows)}.values()
    ]
    head = ("", "compared on", "held out")
    return table(head, reversed(lines), f"{found.unit[:1].upper()}{found.unit[1:]}")


def _best(folder: Path, found: Search) -> list[Part]:
    """Return what the best trial is made of."""
    if found.best is None:
        return []
    parts: list[Part] = [heading(f"The best: {found.best['name']}")]
    if found.best["values"]:
        rows = [(name, value_text(value)) for name, value in found.best["values"].items()]
        parts.append(table(("", "value"), rows, "Its values"))
    tensors, recipe = (folder / MODEL / name for name in (TENSORS, RECIPE))
    if tensors.is_file():
        parts += explained(read_metrics(tensors))
    if recipe.is_file():
        parts.append(fold("Its recipe", tag("pre", recipe.read_text(encoding="utf-8"))))
    return parts


def _all(found: Search) -> Markup:
    names = list(next((r["values"] for r in found.trials if r["values"]), {}))
    rows = [
        (
            row["name"],
            _score(row["score"]),
            *(value_text((row["values"] or {}).get(name)) for name in names),
        )
        for row in found.ranked()
    ]
    return table(("", found.unit, *names), rows, "Trials, the best first")


def value_text(value: Any) -> str:
    """Return what a name of a search stood for, in three digits."""
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _score(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"

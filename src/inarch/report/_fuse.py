"""The report of `inarch fuse` runs: who was believed, how training went, what was left out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.io.runs import MANIFEST
from inarch.report._html import Markup, join, table, tag
from inarch.report._page import (
    Page,
    Part,
    figures_of,
    fold,
    heading,
    paragraph,
    settings_table,
)
from inarch.report._runs import ModelFacts, Run, model_facts, read_json
from inarch.report._svg import Figure, Line, heat, lines
from inarch.report._words import compact, count, duration, listed, percent

LABEL = "label"
"""What a manifest calls documents in which no candidate was believed."""
_COUNTS = {
    "num_documents": "documents",
    "num_tokens": "supervised tokens",
    "num_steps": "optimiser steps",
}
_METRICS = {"loss": "loss", "clm": "next token", "fused": "fused"}
"""Metric in nats per token, and what a plot calls it."""


def fuse_page(folder: Path, runs: Sequence[Run]) -> Page:
    """Return the report of one run, or of the pairwise runs of one folder."""
    title = f"Fusion: {folder.resolve().name}"
    parts: list[Part] = []
    if len(runs) > 1:
        parts.append(paragraph(
            f"One target per source (FuseChat, first stage): {len(runs)} runs,"
            f" {listed(run.name for run in runs)}.", kind="lead"))  # fmt: skip
    for number, run in enumerate(runs, 1):
        if len(runs) > 1:
            parts.append(heading(f"With {run.name}"))
        parts += _run_parts(run, "" if len(runs) == 1 else f"-{number}")
    parts += [heading("Rows left out"), _corpora(folder, runs)]
    parts += [heading("How to repeat it"), *(provenance(run.name, run) for run in runs)]
    return Page(title, parts)


def _run_parts(run: Run, suffix: str) -> list[Part]:
    settings = run.manifest.get("settings") or {}
    models = _models(run, settings)
    parts: list[Part] = []
    if not run.done:
        parts.append(unfinished(run))
    parts += [_numbers(run), models_table(models)]
    parts += _believed(run, models, suffix)
    parts += _training(run, suffix)
    return parts


def _heading(text: str, suffix: str) -> Markup:
    """Return a heading within a run, which has one above it where there are several runs."""
    return heading(text, 3 if suffix else 2)


def unfinished(run: Run) -> Markup:
    """Return the warning above a run that did not come to its end."""
    last = run.metrics[-1].get("step", 0) if run.metrics else 0
    reached = f"up to step {count(last)}" if run.metrics else "before the first step was logged"
    return paragraph(
        f"“{run.name}” is not finished (status: {run.manifest.get('status', 'absent')}); what "
        f"follows goes {reached}. The same command goes on where it stopped.",
        kind="warn",
    )


def _numbers(run: Run) -> Markup:
    """Return the run in a few numbers."""
    facts = run.facts
    shown: dict[str, object] = {
        name: count(facts[key]) for key, name in _COUNTS.items() if key in facts
    }
    losses, speeds = ([value for _, value in run.curve(m)] for m in ("loss", "items_per_s"))
    if losses:
        shown["last loss, nats per token"] = f"{losses[-1]:.3f}"
    if speeds:
        shown["tokens per second, median"] = count(statistics.median(speeds))
    shown["wall time"] = duration(run.manifest.get("wall_s") or 0.0)
    shown["peak memory"] = f"{run.manifest.get('peak_memory_gib') or 0.0:.1f} GiB"
    return figures_of(shown)


def _models(run: Run, settings: Mapping[str, Any]) -> list[ModelFacts]:
    named = [("target", settings.get("target") or {})]
    named += [("source", source) for source in settings.get("sources") or []]
    found = []
    for role, model in named:
        name = model.get("name") or Path(model.get("path") or "scratch").name
        folder = run.folder / "model" if role == "target" else Path(model.get("path") or "")
        facts = model_facts(name, role, folder)
        if role == "target" and facts.architecture is None:
            start = model_facts(name, role, Path(model["path"])) if model.get("path") else facts
            facts = start._replace(architecture=start.architecture or _scratch_type(model))
        found.append(facts)
    return found


def _scratch_type(model: Mapping[str, Any]) -> str | None:
    return (model.get("scratch") or {}).get("model_type")


def models_table(models: Sequence[ModelFacts]) -> Markup:
    """Return what the models are made of."""
    rows = [
        (
            model.name,
            model.role,
            model.architecture or "–",
            "–" if model.num_params is None else compact(model.num_params),
            "–" if model.vocabulary is None else count(model.vocabulary),
        )
        for model in models
    ]
    absent = any(model.num_params is None for model in models)
    note = "–: its folder is not on this machine, or not written yet." if absent else None
    head = ["model", "role", "architecture", "weights", "vocabulary"]
    return table(head, rows, "The models", note)


def _believed(run: Run, models: Sequence[ModelFacts], suffix: str) -> list[Part]:
    winners = run.facts.get("winners")
    if len(models) == 1:
        return [paragraph("No sources: plain continued training on the corpus.")]
    if winners is None:
        online = ((run.manifest.get("settings") or {}).get("teach") or {}).get("online")
        why = "the teachers ran in the training step" if online else "the run did not come so far"
        return [paragraph(f"Who was believed is not recorded: {why}.", kind="note")]
    order = [*(model.name for model in models), LABEL]
    figure, numbers = believed(winners, order, f"believed{suffix}", "Documents by who was believed")
    parts: list[Part] = [
        _heading("Who was believed, % of documents", suffix),
        (figure,),
        fold("The numbers", numbers),
    ]
    spoken = run.facts.get("spoken_frac")
    if spoken is not None:
        parts.append(paragraph(
            f"At {percent(spoken)} of the target's tokens a candidate's distribution was "
            "taught; at the others none, because the text that a candidate has read ends elsewhere "
                "or nobody was to be believed.",
            kind="note"))  # fmt: skip
    return parts


def believed(
    winners: Mapping[str, Mapping[str, float]], order: Sequence[str], name: str, title: str
) -> tuple[Figure, Markup]:
    """Return a heat map and a table of who was believed in how many documents of each domain.

    Args:
        winners: Domain to candidate to documents.
        order: Candidates in the order of the columns; those that never won are left out.
        name: Stem of the plot's file.
        title: What is shown.
    """
    found = {who for counts in winners.values() for who in counts}
    names = [who for who in dict.fromkeys(order) if who in found] + sorted(found - set(order))
    totals = [sum(counts.values()) for counts in winners.values()]
    shares = [
        [counts.get(who, 0) / (total or 1) for who in names]
        for counts, total in zip(winners.values(), totals, strict=True)
    ]
    domains = [domain or "all" for domain in winners]
    columns = ["label only" if who == LABEL else who for who in names]
    most = [
        f"{domain}: {columns[row.index(max(row))]} {percent(max(row), 0)}"
        for domain, row in zip(domains, shares, strict=True)
        if row
    ]
    alt = f"Heat map. Most believed, {'; '.join(most)}"
    rows = [
        (domain, *(count(counts.get(who, 0)) for who in names), count(total))
        for domain, counts, total in zip(domains, winners.values(), totals, strict=True)
    ]
    numbers = table(["domain", *columns, "documents"], rows, f"{title}, in documents")
    return heat((name, title, alt), domains, columns, shares), numbers


def _training(run: Run, suffix: str) -> list[Part]:
    found = {name: run.curve(metric) for metric, name in _METRICS.items()}
    if found["loss"] and not found["fused"]:  # plain training: the loss is the only term
        found = {"loss": found["loss"]}
    curves = [Line(name, points) for name, points in found.items() if points]
    if not curves:
        return [paragraph("No training step is logged yet.", kind="note")]
    return [_heading("Training", suffix), (_losses(run, curves, suffix), *_speed(run, suffix))]


def _losses(run: Run, curves: Sequence[Line], suffix: str) -> Figure:
    alt = "Over training, in nats per token. " + "; ".join(
        f"{line.name} from {line.points[0][1]:.2f} to {line.points[-1][1]:.2f}" for line in curves
    )
    extent = max(value for line in curves for _, value in line.points)
    what = (f"loss{suffix}", "Loss and its two terms" if len(curves) > 1 else "Loss", alt)
    return lines(what, curves, "nats per token", extent)


def _speed(run: Run, suffix: str) -> tuple[Figure, ...]:
    points = run.curve("items_per_s")
    if not points:
        return ()
    values = [value for _, value in points]
    alt = f"Tokens per second over training: {min(values):.0f} to {max(values):.0f}"
    what = (f"speed{suffix}", "Throughput", alt)
    return (lines(what, [Line("", points)], "supervised tokens per second", max(values)),)


def _corpora(folder: Path, runs: Sequence[Run]) -> Markup:
    """Return what was read, and what was skipped and why."""
    rows = []
    for manifest in sorted(folder.glob(f"corpus-*/{MANIFEST}")):
        found = read_json(manifest)
        facts = found.get("facts") or {}
        rows.append(("documents used", count(facts.get("num_documents", 0))))
        rows += [(f"skipped: {why}", count(n)) for why, n in (facts.get("skipped") or {}).items()]
    for manifest in sorted(folder.glob(f"teach/*/{MANIFEST}")):
        facts = read_json(manifest).get("facts") or {}
        if facts.get("num_inexact_rows"):
            name = manifest.parent.name.rpartition("-")[0]
            rows.append((f"matched by characters, as {name} changes the text",
                         count(facts["num_inexact_rows"])))  # fmt: skip
    if not rows:
        used = listed(count(run.facts.get("num_documents", 0)) for run in runs)
        return paragraph(
            "The corpus is not in this folder (a recipe can share it, as `work`), so what was "
            f"skipped is not known here. Documents used: {used}.",
            kind="note",
        )
    skipped = any(name.startswith("skipped") for name, _ in rows)
    return join([
        None if skipped else paragraph("No row was skipped."),
        table(["", "documents"], rows, "Rows of the corpus"),
    ])  # fmt: skip


def provenance(name: str, run: Run) -> Markup:
    """Return settings, inputs and versions of a run, folded under a name."""
    manifest = run.manifest
    versions = {
        "inarch": manifest.get("inarch", "–"),
        "python": manifest.get("python", "–"),
        **(manifest.get("versions") or {}),
        "platform": manifest.get("platform", "–"),
        "started": manifest.get("started", "–"),
        "ended": manifest.get("ended") or "–",
    }
    return fold(
        f"Settings and versions of {name}",
        settings_table("Settings, defaults included", manifest.get("settings") or {}),
        settings_table("Digests of what was read", manifest.get("inputs") or {}),
        tag("div", table(["", ""], list(versions.items()), "Versions"), class_="words"),
    )

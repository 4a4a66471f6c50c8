"""The page of a merged model: how much of each model is in which of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.io.files import read_metrics
from inarch.io.runs import MANIFEST
from inarch.report._html import Markup, table, tag
from inarch.report._layers_plot import in_cell, layers
from inarch.report._page import Page, Part, figures_of, fold, heading, paragraph, slug
from inarch.report._runs import read_json
from inarch.report._words import count, duration, listed
from inarch.report.layers import LayerMap, coefficients_of

TENSORS, RECIPE = "tensors.jsonl", "merge.yaml"


def merge_page(folder: Path) -> Page:
    """Return the page of a folder that `inarch merge` wrote."""
    manifest = read_json(folder / MANIFEST)
    path = folder / TENSORS
    rows = read_metrics(path) if path.exists() else []
    parts: list[Part] = []
    if manifest.get("status") != "done":
        parts.append(paragraph(
            f"This merge is not finished: {count(len(rows))} tensors are. The same command goes "
            "on where it stopped.", kind="warn"))  # fmt: skip
    facts = {
        "method": (manifest.get("settings") or {}).get("merge_method", "–"),
        "tensors": count(len(rows)),
        "wall time": duration(manifest.get("wall_s") or 0.0),
        "peak memory": f"{manifest.get('peak_memory_gib') or 0.0:.2f} GiB",
    }
    parts += [figures_of(facts), *explained(rows)]
    notes = (manifest.get("facts") or {}).get("notes") or []
    if notes:
        parts += [heading("Notes"), tag("ul", *(tag("li", note) for note in notes))]
    if (folder / RECIPE).is_file():
        recipe = (folder / RECIPE).read_text(encoding="utf-8")
        parts += [heading("The recipe"), tag("pre", recipe)]
    return Page(f"Merge: {folder.resolve().name}", parts)


def explain_page(rows: Sequence[Mapping[str, Any]], name: str) -> Page:
    """Return the page of ``inarch merge --explain``: how much of each model would be where."""
    return Page(f"Merge explained: {name}", explained(rows))


def explained(rows: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return a map of layers and matrices per model, or why there is none.

    Args:
        rows: As ``tensors.jsonl`` has them.
    """
    found = coefficients_of(rows)
    methods = listed(sorted({str(row["method"]) for row in rows})) if rows else ""
    if not found.maps:
        text = f"{methods}: no single number says how much of a model is in a tensor."
        return [paragraph(text)] if rows else []
    largest = max(abs(number) for shown in found.maps.values() for number in shown.numbers)
    figures = []
    for label, shown in found.maps.items():
        numbers = shown.numbers
        alt = f"{label}: {found.what} from {min(numbers):.3g} to {max(numbers):.3g}"
        figures.append(
            layers((f"share-{slug(label)}", label, alt), shown, largest, in_cell(largest))
        )
    return [
        heading("How much of each model"),
        paragraph(f"{found.what[:1].upper()}{found.what[1:]}, by layer and matrix; {methods}."),
        tuple(figures),
        fold("The numbers", *(_numbers(label, shown) for label, shown in found.maps.items())),
    ]


def _numbers(label: str, shown: LayerMap) -> Markup:
    rows = [
        (name, *map(_figure, values)) if isinstance(values, tuple) else (name, _figure(values))
        for name, values in shown.rows
    ]
    return table(("layer", *shown.columns), rows, label)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"

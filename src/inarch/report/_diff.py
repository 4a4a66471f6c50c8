"""The page of `inarch diff`: how far two checkpoints are apart, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.report._html import Markup, table, tag
from inarch.report._layers_plot import in_cell, layers
from inarch.report._page import Page, Part, figures_of, fold, heading, paragraph
from inarch.report._words import count, listed
from inarch.report.layers import layer_map

_MOST = 12
"""Tensors that are shown before the fold."""
_MAPS = {
    "relative": "How far each matrix moved: ‖b − a‖ / ‖a‖",
    "changed_frac": "Elements that changed at all, in %",
}
_HEAD = ("tensor", "‖b − a‖ / ‖a‖", "‖b − a‖", "cosine", "largest", "changed", "formats")


def diff_page(found: Mapping[str, Any]) -> Page:
    """Return the page of what `inarch.flows.diff.run` found."""
    parts: list[Part] = [
        paragraph(tag("b", "a "), found["a"], Markup("<br>"), tag("b", "b "), found["b"]),
        paragraph(_summary(found), kind="lead"),
    ]
    rows = found["tensors"]
    if rows and not found["same_weights"]:
        parts += [_numbers(found), _maps(rows), *_tables(rows)]
    parts += _apart(found)
    parts += _beside(found)
    return Page("What tells two models apart", parts)


def _summary(found: Mapping[str, Any]) -> str:
    rows = found["tensors"]
    if found["same_weights"]:
        return f"The weights are the same: all {count(len(rows))} tensors, number for number."
    apart = [
        f"{count(len(found[key]))} tensors {what}" for key, what in _APART.items() if found[key]
    ]
    moved = [row for row in rows if row["changed_frac"] > 0]
    if rows:
        apart.insert(0, f"{count(len(moved))} of {count(len(rows))} shared tensors changed")
    text = f"{listed(apart)}." if apart else "Nothing can be compared."
    layers_ = [row for row in found["layers"] if row["relative"]]
    if layers_:
        most = max(layers_, key=lambda row: row["relative"])
        text += f" {most['layer'].removesuffix('.weight')} moved most for its size."
    return text


_APART = {"only_a": "are only in a", "only_b": "are only in b", "shapes": "have another shape"}


def _numbers(found: Mapping[str, Any]) -> Markup:
    whole = found["whole"]
    shown: dict[str, object] = {
        "elements that changed": f"{100 * whole['changed_frac']:.3g}%",
        "‖b − a‖": _figure(whole["norm"]),
        "‖b − a‖ / ‖a‖": _figure(whole["relative"]),
        "cosine": _figure(whole["cosine"], 8),
        "largest |b − a|": _figure(whole["largest"]),
    }
    nonfinite = sum(row["nonfinite"] for row in found["tensors"])
    if nonfinite:
        shown["NaN or infinite, left out"] = count(nonfinite)
    return figures_of(shown)


def _maps(rows: Sequence[Mapping[str, Any]]) -> Part:
    figures = []
    for key, title in _MAPS.items():
        unit = 100 if key == "changed_frac" else 1
        shown = layer_map({r["tensor"]: unit * r[key] for r in rows if r[key] is not None})
        largest = max(shown.numbers, default=0.0)
        form = in_cell(largest) if unit == 1 else _percent
        alt = f"{title}, by layer and matrix; at most {largest:.3g}"
        figures.append(layers((key, title, alt), shown, largest, form))
    return tuple(figures)


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[Part]:
    order = sorted(rows, key=lambda row: -(row["relative"] or 0.0))
    parts: list[Part] = [
        table(_HEAD, map(_line, order[:_MOST]), "The tensors that moved most for their size")
    ]
    if len(rows) > _MOST:
        parts.append(fold(f"All {count(len(rows))} tensors", table(_HEAD, map(_line, rows), "")))
    return parts


def _line(row: Mapping[str, Any]) -> Sequence[object]:
    formats = {row["dtype_a"]: None, row["dtype_b"]: None}
    return (
        row["tensor"],
        *(_figure(row[key]) for key in ("relative", "norm")),
        _figure(row["cosine"], 8),
        _figure(row["largest"]),
        f"{100 * row['changed_frac']:.3g}%",
        " → ".join(formats),
    )


def _apart(found: Mapping[str, Any]) -> list[Part]:
    """Return the tensors that only one has, or that have another shape."""
    lines = [
        (name, what) for key in ("only_a", "only_b") for name, what in
        ((name, _APART[key].replace("are ", "")) for name in found[key])
    ]  # fmt: skip
    lines += [(r["tensor"], f"{r['a']} in a, {r['b']} in b") for r in found["shapes"]]
    if not lines:
        return []
    shown = tag("div", table(("tensor", ""), lines, "Cannot be compared"), class_="words")
    return [heading("Tensors apart"), shown]


def _beside(found: Mapping[str, Any]) -> list[Part]:
    """Return what differs in configs and tokenizers."""
    parts: list[Part] = []
    if found["files"]:
        lines = [
            (row["file"], row["key"] or "", *(_text(row[side]) for side in ("a", "b")))
            for row in found["files"]
        ]
        caption = "Configs and tokenizers: – is absent"
        shown = table(("file", "key", "a", "b"), lines, caption)
        parts.append(tag("div", shown, class_="words long"))
    tokens = found["tokens"]
    if tokens:
        lines = [
            (title, count(tokens[f"num_{key}"]), " ".join(map(repr, tokens[key])))
            for key, title in _TOKENS.items()
            if tokens[f"num_{key}"]
        ]
        shown = table(("", "number", "such as"), lines, "Tokens")
        parts.append(tag("div", shown, class_="words long"))
    return [heading("Beside the weights"), *parts] if parts else []


_TOKENS = {"only_a": "only in a", "only_b": "only in b", "other_id": "with another id"}


def _text(value: str | None) -> str:
    text = "–" if value is None else value
    return text if len(text) <= 200 else f"{text[:199]}…"


def _percent(value: float) -> str:
    """Return per cent in three characters; neither 0 nor 100 unless it is."""
    return f"{value:.0f}" if value in (0, 100) else "<1" if value < 1 else f"{min(value, 99):.0f}"


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}"

"""The page of `inarch prune`: what went, what it cost, what was gained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.report._html import Markup, table
from inarch.report._layers_plot import layers
from inarch.report._page import Page, Part, figures_of, fold, heading, paragraph, settings_table
from inarch.report._runs import read_json
from inarch.report._svg import Line, lines
from inarch.report._words import compact, count, duration, percent
from inarch.report.layers import LayerMap

RESULT = "pruned.json"
_NAMES = {"mha": "attention", "mlp": "feed-forward"}
_LITTLE = 0.9
"""Share of what was removed below which a saved model is said to save little."""
_WORST = 2.0
"""Nats above the whole model's loss at which curves leave the plot."""


def prune_page(folder: Path, manifest: Mapping[str, Any]) -> Page:
    """Return the page of a pruning run, which may be unfinished."""
    title = f"Pruned: {folder.resolve().name}"
    settings = fold("Settings", settings_table("Settings", manifest.get("settings") or {}))
    path = folder / RESULT
    if not path.is_file():
        words = "This run is not finished. The same command goes on where it stopped."
        return Page(title, [paragraph(words, kind="warn"), settings])
    found = read_json(path)
    parts: list[Part] = [
        paragraph(verdict(found), kind="lead"),
        _facts(found),
        heading("Before and after"),
        models_table(found),
        *_curves(found),
        heading("What went"),
        (_picture(found),),
        paragraph(_ties(found)),
        fold("Every step", _steps(found)),
        *_methods(found),
        heading("How to repeat it"),
        settings,
    ]
    return Page(title, parts)


def verdict(found: Mapping[str, Any]) -> str:
    """Return in a sentence what was removed, and what the loss says."""
    whole, *cuts = found["models"]
    last = [row for row in cuts if row["num_removed"]][-1]
    kinds = [entry["kind"] for entry in found["order"][: last["num_removed"]]]
    where = "held_out" if last["held_out"] is not None else "nll"
    text = "text that it was not chosen on" if where == "held_out" else "the calibration text"
    num_blocks = 2 * found["num_layers"] - len(found["empty"])
    said = (
        f"{kinds.count('mha')} attention and {kinds.count('mlp')} feed-forward blocks of"
        f" {num_blocks} are gone, {percent(last['removed_share'])} of the parameters; the saved"
        f" model is {percent(last['saved_share'])} smaller. Its perplexity on {text} is"
        f" {perplexity(last[where])}, before it was {perplexity(whole[where])}."
    )
    if last["saved_share"] < _LITTLE * last["removed_share"]:
        said += (
            " In the format plain a lone block keeps a partner of zeros; --format native holds"
            " none, and with --set method.paired=true none is needed."
        )
    return said


def perplexity(nll: float | None) -> str:
    """Return exp of a loss in four digits, or two and a power of ten."""
    if nll is None:
        return "–"
    if nll > math.log(1e9):
        return "over 1e9"
    return f"{math.exp(nll):.4g}" if nll < math.log(1e4) else f"{math.exp(nll):.1e}"


def _facts(found: Mapping[str, Any]) -> Markup:
    last = found["models"][-1]
    return figures_of({
        "method": found["method"],
        "format": found["format"],
        "blocks removed": count(last["num_removed"]),
        "calibration tokens": count(found["calibration"]["num_tokens"]),
        "time of search": duration(found["search_s"]),
    })  # fmt: skip


COLUMNS = {
    "params": lambda row: compact(row["parameters"]),
    "layers": lambda row: count(row["num_layers"]),
    "size": lambda row: f"{compact(row['bytes'])}B",
    "KV/tok": lambda row: f"{compact(row['kv_bytes'])}B",
    "reads": lambda row: _ms(row["prefill_s"]),
    "writes": lambda row: _ms(row["decode_s"]),
    "ppl": lambda row: perplexity(row["nll"]),
    "unseen": lambda row: perplexity(row["held_out"]),
}
"""Title and content of each column of the table of models."""


def models_table(found: Mapping[str, Any]) -> Markup:
    """Return the sizes, times and perplexities of all models."""
    rows = [(row["name"], *(text(row) for text in COLUMNS.values())) for row in found["models"]]
    return table(("", *COLUMNS), rows, "Models", legend(found))


def legend(found: Mapping[str, Any]) -> str:
    """Return what the columns of the table of models mean."""
    return (
        "KV/tok: what a token takes in the cache; a layer without attention keeps two numbers."
        " Reads: time to read a prompt of {prompt_tokens} tokens; writes: time per further token;"
        " batch of {batch_size}, the least of {rounds} turns. Ppl: on the calibration rows; unseen:"
        " on others of the same file."
    ).format(**found["workload"])


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.3g} ms"


def _curves(found: Mapping[str, Any]) -> list[Part]:
    """Return the loss over what is removed, of each method, on both texts."""
    figures = []
    for key, title in (("nll", "calibration"), ("held_out", "held out")):
        drawn, base = [], None
        for method, rows in found["curves"].items():
            known = [row for row in rows if row[key] is not None]
            if known:
                base = known[0][key]
                inside = [row for row in known if row[key] <= base + _WORST] or known[:1]
                points = tuple((100 * row["share"], row[key]) for row in inside)
                drawn.append(Line(method, points, strong=method == found["method"]))
        if base is None:
            continue
        extent = max(value for line in drawn for _, value in line.points)
        alt = f"Loss on the {title} text over the share of the parameters that is removed"
        what = (f"loss-{key}", f"Loss, {title}", alt)
        drawn.sort(key=lambda line: line.strong)
        figures.append(lines(what, drawn, "nats per token", extent, _share_gone))
    if not figures:
        return []
    note = "Grey: the other methods. " if len(found["curves"]) > 1 else ""
    note += f"Lines end where they are {_WORST:g} nats above the whole model."
    return [heading("What each removal costs"), paragraph(note), tuple(figures)]


def _share_gone(percents: float) -> str:
    return f"{percents:.3g} % of the parameters gone"


def _picture(found: Mapping[str, Any]) -> Any:
    """Return layers by kind, each removed block with the number of its removal."""
    order = found["order"]
    last = len(order) + 1
    number = {(entry["kind"], entry["layer"]): i for i, entry in enumerate(order, 1)}
    rows = tuple(
        (str(layer), tuple(_left(number.get((kind, layer)), last) for kind in _NAMES))
        for layer in range(found["num_layers"])
    )
    alt = f"{len(order)} blocks by layer and kind; the first to go is {_name(order[0])}"
    title = "Removed blocks, by turn: the darkest went first"
    shown = LayerMap(tuple(_NAMES.values()), rows)
    return layers(("blocks", title, alt), shown, last, lambda value: f"{last - value:.0f}")


def _ties(found: Mapping[str, Any]) -> str:
    num, steps = sum(map(is_tie, found["steps"])), count(len(found["steps"]))
    if not num:
        return "No step was a tie."
    return f"{count(num)} of {steps} steps were ties, which other rows might have broken otherwise."


def _left(turn: int | None, last: int) -> float | None:
    return None if turn is None else float(last - turn)


def _name(entry: Mapping[str, Any]) -> str:
    return f"{_NAMES[entry['kind']]} of layer {entry['layer']}"


def _steps(found: Mapping[str, Any]) -> Markup:
    rows = []
    for number, step in enumerate(found["steps"], 1):
        unit = " + ".join(f"{_NAMES[kind]} {layer}" for kind, layer in step["unit"])
        score = "–" if step["score"] is None else f"{step['score']:.4f}"
        margin = "–" if step["margin"] is None else f"{step['margin']:.4f}"
        error = step.get("margin_error")
        margin += "" if error is None else f" ± {error:.4f}"
        row = (count(number), unit, score, margin, "tie" if is_tie(step) else "")
        rows.append((*row, count(step["evaluations"])))
    note = (
        "Margin: how much worse the second best was, with its standard error over draws of the"
        " calibration rows. A tie is a margin of less than two of them: other rows may break it"
        " otherwise."
    )
    head = ("", "removed", "score", "margin", "", "evaluated")
    return table(head, rows, "Steps", note)


def is_tie(step: Mapping[str, Any]) -> bool:
    """Return whether other calibration rows might have chosen another unit."""
    error = step.get("margin_error")
    return error is not None and step["margin"] is not None and step["margin"] < 2 * error


def _methods(found: Mapping[str, Any]) -> list[Part]:
    """Return the perplexities of every method at every target."""
    if len(found["curves"]) < 2:
        return []
    targets = [row for row in found["models"] if row["num_removed"] and not row["healed"]]
    key = "held_out" if targets[0]["held_out"] is not None else "nll"
    rows = [
        (method, *(reached(curve, row["removed_share"], key) for row in targets))
        for method, curve in found["curves"].items()
    ]
    head = ["", *(f"{percent(row['removed_share'])}" for row in targets)]
    note = (
        "Each method at its first step that removes at least as much; in brackets what it has then"
        " removed."
    )
    where = "held out" if key == "held_out" else "on the calibration rows"
    return [heading("Against other methods"), table(head, rows, f"Perplexity, {where}", note)]


def reached(curve: Sequence[Mapping[str, Any]], share: float, key: str) -> str:
    """Return the perplexity of a method at its first step that removes a share, and what it has."""
    row = next((row for row in curve if row["share"] >= share - 1e-9), None)
    return "–" if row is None else f"{perplexity(row[key])} ({percent(row['share'])})"

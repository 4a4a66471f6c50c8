"""What `inarch merge --explain`, `inarch merge search` and `inarch diff` print."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli.show import output
from inarch.report import Search, value_text
from inarch.report.layers import LayerMap, brief, coefficients_of, layer_map

if TYPE_CHECKING:
    from inarch.flows.search import Found

_LABEL_WIDTH, _CELL_WIDTH = 12, 6
_MANY = 8
"""Names and tensors that are listed."""
_BAR_WIDTH = 40


def show_coefficients(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how much of each model is in each tensor: a map of layers and matrices per model."""
    found = coefficients_of(rows)
    if not found.maps:
        methods = ", ".join(sorted({str(row["method"]) for row in rows}))
        output.print(f"{methods}: no single number says how much of a model is in a tensor")
        return
    largest = max(abs(number) for shown in found.maps.values() for number in shown.numbers)
    for label, shown in found.maps.items():
        output.print(Text(f"{label}: {found.what}", "bold"))
        _print_map(shown, largest)


def show_diff(found: Mapping[str, Any]) -> None:
    """Print what `inarch.flows.diff.run` found."""
    output.print(f"a  {found['a']}\nb  {found['b']}", markup=False, highlight=False)
    if found["same_weights"]:
        output.print("The weights are the same.")
    elif found["tensors"]:
        _print_whole(found)
        _print_layers(found["layers"])
        _print_relative(found["tensors"])
    _print_apart(found)
    _print_beside(found)


def show_search(found: "Found") -> None:
    """Print what `inarch.flows.search.run` found: the best trials beside the inputs, a verdict."""
    score = found.settings.score
    shown = Search(found.rows, found.best, score.unit, score.lower_is_better)
    names = list(found.settings.search)
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=score.unit)
    for title in ("score", "held out", *names):
        table.add_column(title, justify="right", no_wrap=title in ("score", "held out"))
    plain = [row for row in shown.trials if row["trial"] == 0]
    ranked = [row for row in shown.ranked() if row["trial"] > 0][:_MANY]
    for row in (*shown.inputs, *plain, *ranked):
        is_best = row.get("trial") == found.best["trial"]
        held_out = found.best["held_out"] if is_best else row["held_out"]
        values = row.get("values") or {}
        table.add_row(
            Text(Path(row["name"]).name.replace(" ", "\N{NO-BREAK SPACE}")),
            f"{row['score']:.4f}",
            "" if held_out is None else f"{held_out:.4f}",
            *(value_text(values[name]) if name in values else "" for name in names),
            style="bold" if is_best else None,
        )
    output.print(table)
    failed = sum(row["score"] is None for row in found.rows)
    if failed:
        output.print(f"{failed} trials have no score; trials.jsonl says why")
    output.print(shown.verdict(), markup=False, highlight=False)


# ------------------------------------------------------------------------------------- heat maps


def _print_map(shown: LayerMap, largest: float) -> None:
    """Print a map as tables that fit the screen; the colour of a cell is its share of `largest`.

    Tensors outside of layers are in the first column, which belongs to no matrix.
    """
    digits = 3 if largest == 0 else min(max(2, 2 - math.floor(math.log10(largest))), 6)
    per_table = max(1, (output.width - _LABEL_WIDTH) // (_CELL_WIDTH + 1) - 1)
    for start in range(0, len(shown.columns) or 1, per_table):
        columns = shown.columns[start : start + per_table]
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("layer", max_width=_LABEL_WIDTH, overflow="fold")
        for column in ("", *columns):
            table.add_column(brief(column), width=_CELL_WIDTH, justify="right", overflow="fold")
        for name, values in shown.rows:
            cells = [_cell(value, largest, digits) for value in values]
            if len(values) == len(shown.columns):
                table.add_row(name, "", *cells[start : start + per_table])
            elif start == 0:
                table.add_row(name, *cells)
        output.print(table)
        output.print()


def _cell(value: float | None, largest: float, digits: int) -> Text:
    if value is None:
        return Text("–", "dim")
    share = abs(value) / largest if largest > 0 else 0.0
    red, green, blue = (round(255 + share * (end - 255)) for end in _ENDS[value < 0])
    ink = 255 if share > 0.7 else 0
    text = f"{value:.{digits}f}"[: _CELL_WIDTH + (value < 0)].rjust(_CELL_WIDTH)
    return Text(text, f"rgb({ink},{ink},{ink}) on rgb({red},{green},{blue})")


_ENDS = {False: (10, 95, 165), True: (179, 71, 0)}
"""Colours of the largest number, and of the largest below zero."""


# ------------------------------------------------------------------------------------------- diff


def _print_whole(found: Mapping[str, Any]) -> None:
    whole = found["whole"]
    num = sum(row["changed_frac"] > 0 for row in found["tensors"])
    table = Table("", "", box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("tensors that changed", f"{num} of {len(found['tensors'])}")
    table.add_row("elements that changed", _percent(whole["changed_frac"]))
    table.add_row("||b - a||", _number(whole["norm"]))
    table.add_row("||b - a|| / ||a||", _number(whole["relative"]))
    table.add_row("cosine of a and b", *_cosines([whole["cosine"]]))
    table.add_row("largest |b - a|", _number(whole["largest"]))
    nonfinite = sum(row["nonfinite"] for row in found["tensors"])
    if nonfinite:
        table.add_row("NaN or infinite, left out", f"{nonfinite:,}", style="bold red")
    output.print(table)


def _print_layers(layers: Sequence[Mapping[str, Any]]) -> None:
    """Print a bar per layer for how far it moved relative to its size."""
    moves = [row["relative"] or 0.0 for row in layers]
    largest = max(moves, default=0.0) or 1.0
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title, justify in (("", "left"), ("||b - a|| / ||a||", "left"), ("", "right")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    table.add_column("cosine", justify="right")
    table.add_column("changed", justify="right")
    cosines = _cosines([row["cosine"] for row in layers])
    for row, move, cosine in zip(layers, moves, cosines, strict=True):
        bar = Text("█" * math.ceil(_BAR_WIDTH * move / largest), "bright_blue")
        changed = _percent(row["changed_frac"])
        table.add_row(
            Text(row["layer"].removesuffix(".weight")),
            bar,
            _number(row["relative"]),
            cosine,
            changed,
        )
    output.print(table)


def _print_relative(tensors: Sequence[Mapping[str, Any]]) -> None:
    shown = layer_map({t["tensor"]: t["relative"] for t in tensors if t["relative"] is not None})
    if shown.columns:
        output.print(Text("||b - a|| / ||a|| by matrix", "bold"))
        largest = max(shown.numbers, default=0.0)
        _print_map(shown, largest)


def _print_apart(found: Mapping[str, Any]) -> None:
    """Print tensors that cannot be compared, and those in another format."""
    for side in ("a", "b"):
        _print_names(f"only in {side}", found[f"only_{side}"])
    _print_names("other shape", [f"{r['tensor']} {r['a']} and {r['b']}" for r in found["shapes"]])
    formats = [(t["dtype_a"], t["dtype_b"]) for t in found["tensors"]]
    for pair in dict.fromkeys(pair for pair in formats if pair[0] != pair[1]):
        output.print(f"stored as {pair[0]} in a and {pair[1]} in b: {formats.count(pair)} tensors")


def _print_beside(found: Mapping[str, Any]) -> None:
    """Print what differs in configs and tokenizers."""
    if found["files"]:
        table = Table("file", "key", "a", "b", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for row in found["files"][: 3 * _MANY]:
            table.add_row(*(Text(_short(row[key])) for key in ("file", "key", "a", "b")))
        output.print(table)
        more = len(found["files"]) - 3 * _MANY
        if more > 0:
            output.print(f"and {more} more; see --json")
    for key, title in _TOKENS.items():
        number = found["tokens"].get(f"num_{key}", 0)
        if number:
            _print_names(title, [repr(t) for t in found["tokens"][key]], number)


_TOKENS = {
    "only_a": "tokens only in a",
    "only_b": "tokens only in b",
    "other_id": "tokens with another id",
}


def _print_names(title: str, names: Sequence[str], number: int | None = None) -> None:
    number = len(names) if number is None else number
    if number:
        more = f" and {number - _MANY} more" if number > _MANY else ""
        line = f"{title} ({number}): {', '.join(names[:_MANY])}{more}"
        output.print(line, markup=False, highlight=False)


def _short(value: object) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _cosines(values: Sequence[float | None]) -> list[str]:
    """Return cosines with as many digits as it takes to tell the nearest to 1 from it."""
    gaps = [1 - value for value in values if value is not None and value < 1]
    digits = min(12, max(4, 1 - math.floor(math.log10(min(gaps, default=1.0)))))
    return ["–" if value is None else f"{value:.{digits}f}" for value in values]


def _percent(share: float) -> str:
    """Return a share in per cent; neither 0 nor 100 unless it is."""
    text = f"{100 * share:.1f}%"
    if text == "0.0%" and share > 0:
        return f"{100 * share:.1g}%"
    return "<100%" if text == "100.0%" and share < 1 else text

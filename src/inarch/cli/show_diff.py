"""What `inarch diff` prints."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli import show
from inarch.cli.show_map import print_map
from inarch.report.layers import layer_map

_MANY = 8
"""Names that are listed; of files, three times as many."""
_BESIDE_BAR = 36
"""Width of what stands beside a bar and its name."""


def show_diff(found: Mapping[str, Any]) -> None:
    """Print what `inarch.flows.diff.run` found."""
    show.output.print(f"a  {found['a']}\nb  {found['b']}", markup=False, highlight=False)
    if found["same_weights"]:
        show.output.print("The weights are the same.")
    elif found["tensors"]:
        _print_whole(found)
        _print_layers(found["layers"])
        _print_relative(found["tensors"])
    _print_apart(found)
    _print_beside(found)


def _print_whole(found: Mapping[str, Any]) -> None:
    whole = found["whole"]
    num = sum(row["changed_frac"] > 0 for row in found["tensors"])
    table = Table("", "", box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("tensors that changed", f"{num} of {len(found['tensors'])}")
    table.add_row("elements that changed", show.percent(whole["changed_frac"]))
    table.add_row("||b - a||", _number(whole["norm"]))
    table.add_row("||b - a|| / ||a||", _number(whole["relative"]))
    table.add_row("cosine of a and b", *_cosines([whole["cosine"]]))
    table.add_row("largest |b - a|", _number(whole["largest"]))
    nonfinite = sum(row["nonfinite"] for row in found["tensors"])
    if nonfinite:
        table.add_row("NaN or infinite, left out", f"{nonfinite:,}", style="bold red")
    show.output.print(table)


def _print_layers(layers: Sequence[Mapping[str, Any]]) -> None:
    """Print a bar per layer for how far it moved relative to its size."""
    moves = [row["relative"] or 0.0 for row in layers]
    largest = max(moves, default=0.0) or 1.0
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title, justify in (("", "left"), ("||b - a|| / ||a||", "left"), ("", "right")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    table.add_column("cosine", justify="right")
    table.add_column("changed", justify="right")
    names = [row["layer"].removesuffix(".weight") for row in layers]
    room = max(8, min(60, show.output.width - _BESIDE_BAR - max(map(len, names), default=0)))
    cosines = _cosines([row["cosine"] for row in layers])
    for name, row, move, cosine in zip(names, layers, moves, cosines, strict=True):
        bar = Text("█" * math.ceil(room * move / largest), "bright_blue")
        changed = show.percent(row["changed_frac"])
        table.add_row(
            Text(name),
            bar,
            _number(row["relative"]),
            cosine,
            changed,
        )
    show.output.print(table)


def _print_relative(tensors: Sequence[Mapping[str, Any]]) -> None:
    shown = layer_map({t["tensor"]: t["relative"] for t in tensors if t["relative"] is not None})
    if shown.columns:
        print_map("||b - a|| / ||a|| by matrix", shown, max(shown.numbers, default=0.0))


def _print_apart(found: Mapping[str, Any]) -> None:
    """Print tensors that cannot be compared, and those in another format."""
    for side in ("a", "b"):
        _print_names(f"only in {side}", found[f"only_{side}"])
    _print_names("other shape", [f"{r['tensor']} {r['a']} and {r['b']}" for r in found["shapes"]])
    formats = [(t["dtype_a"], t["dtype_b"]) for t in found["tensors"]]
    for pair in dict.fromkeys(pair for pair in formats if pair[0] != pair[1]):
        show.output.print(
            f"stored as {pair[0]} in a and {pair[1]} in b: {formats.count(pair)} tensors"
        )


def _print_beside(found: Mapping[str, Any]) -> None:
    """Print what differs in configs and tokenizers."""
    if found["files"]:
        table = Table("file", "key", "a", "b", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for row in found["files"][: 3 * _MANY]:
            table.add_row(*(Text(_short(row[key])) for key in ("file", "key", "a", "b")))
        show.output.print(table)
        more = len(found["files"]) - 3 * _MANY
        if more > 0:
            show.output.print(f"and {more} more; see --json")
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
        show.output.print(line, markup=False, highlight=False)


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

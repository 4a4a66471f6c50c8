"""What `inarch prune` prints: models before and after, and which blocks went."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli import show
from inarch.report._prune import COLUMNS, legend, reached, verdict
from inarch.report._words import percent

_KEPT, _GONE, _EMPTY = "·", "█", "○"
_LABELS = {"mha": "attention   ", "mlp": "feed-forward"}
_WIDTH = 60
"""Layers on a line."""


def show_pruned(found: Mapping[str, Any]) -> None:
    """Print what `inarch.flows.prune.run` returned."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("", *COLUMNS):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for row in found["models"]:
        table.add_row(Text(row["name"]), *(text(row) for text in COLUMNS.values()))
    show.output.print(table)
    show.output.print(legend(found), "\n", style="dim", markup=False, highlight=False)
    _show_blocks(found)
    if len(found["curves"]) > 1:
        _show_methods(found)
    show.output.print(verdict(found), markup=False, highlight=False)


def _show_blocks(found: Mapping[str, Any]) -> None:
    marked = dict.fromkeys(map(tuple, found["empty"]), _EMPTY)
    marked |= {(entry["kind"], entry["layer"]): _GONE for entry in found["order"]}
    for start in range(0, found["num_layers"], _WIDTH):
        layers = range(start, min(start + _WIDTH, found["num_layers"]))
        tens = "".join(str(layer // 10) if layer % 10 == 0 else " " for layer in layers)
        ones = "".join(str(layer % 10) for layer in layers)
        show.output.print(f"layer         {tens}\n              {ones}", highlight=False)
        for kind, label in _LABELS.items():
            marks = "".join(marked.get((kind, layer), _KEPT) for layer in layers)
            show.output.print(f"{label}  {marks}", highlight=False)
    before = f", {_EMPTY} gone before" if found["empty"] else ""
    show.output.print(f"{_GONE} removed{before}\n", highlight=False)


def _show_methods(found: Mapping[str, Any]) -> None:
    cuts = [row for row in found["models"] if row["num_removed"] and not row["healed"]]
    key = "held_out" if cuts[0]["held_out"] is not None else "nll"
    title = f"perplexity{', held out' if key == 'held_out' else ''}"
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title)
    table.add_column("")
    for row in cuts:
        table.add_column(f"{percent(row['removed_share'])} gone", justify="right")
    for method, curve in found["curves"].items():
        table.add_row(method, *(reached(curve, row["removed_share"], key) for row in cuts))
    show.output.print(table)

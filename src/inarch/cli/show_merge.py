"""What `inarch merge --explain`, `inarch merge search` and `inarch extract` print."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli import show
from inarch.cli.show_map import print_map
from inarch.report import Search, value_text
from inarch.report.layers import coefficients_of, kind_of

if TYPE_CHECKING:
    from inarch.flows.extract import ExtractReport
    from inarch.flows.search import Found

_MANY = 8
"""Trials that are listed."""


def show_coefficients(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how much of each model is in each tensor: a map of layers and matrices per model."""
    found = coefficients_of(rows)
    if not found.maps:
        methods = ", ".join(sorted({str(row["method"]) for row in rows}))
        show.output.print(f"{methods}: no single number says how much of a model is in a tensor")
        return
    largest = max(abs(number) for shown in found.maps.values() for number in shown.numbers)
    for label, shown in found.maps.items():
        print_map(f"{label}: {found.what}", shown, largest)


def show_search(found: "Found") -> None:
    """Print what `inarch.flows.search.run` found: the best trials beside the inputs, a verdict."""
    score = found.settings.score
    shown = Search(found.rows, found.best, score.unit, score.lower_is_better)
    names = list(found.settings.search)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=score.unit)
    table.add_column("", no_wrap=True)
    for title in ("score", "held out", *names):
        table.add_column(title, justify="right", no_wrap=title in ("score", "held out"))
    plain = [row for row in shown.trials if row["trial"] == 0]
    ranked = [row for row in shown.ranked() if row["trial"] > 0][:_MANY]
    for row in (*shown.inputs, *plain, *ranked):
        is_best = row.get("trial") == found.best["trial"]
        held_out = found.best["held_out"] if is_best else row["held_out"]
        values = row.get("values") or {}
        table.add_row(
            Text(Path(row["name"]).name),
            f"{row['score']:.4f}",
            "" if held_out is None else f"{held_out:.4f}",
            *(value_text(values[name]) if name in values else "" for name in names),
            style="bold" if is_best else None,
        )
    show.output.print(table)
    failed = sum(row["score"] is None for row in found.rows)
    if failed:
        show.output.print(f"{failed} trials have no score; trials.jsonl says why")
    show.output.print(shown.verdict(), markup=False, highlight=False)


def show_extracted(report: "ExtractReport") -> None:
    """Print how much of the change an adapter keeps, by kind of matrix."""
    kinds: dict[str, list[Any]] = {}
    for tensor in report.tensors:
        kinds.setdefault(kind_of(tensor.name), []).append(tensor)
    whole = math.fsum(tensor.change for tensor in report.tensors) or 1.0
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("tensors", "rank", "of all change", "kept"):
        table.add_column(title, justify="right")
    for kind, tensors in kinds.items():
        change = math.fsum(tensor.change for tensor in tensors)
        kept = math.fsum(tensor.change * tensor.kept for tensor in tensors)
        ranks = sorted({t.rank for t in tensors if t.way == "low_rank"})
        how = "–".join(dict.fromkeys(map(str, ranks[:1] + ranks[-1:]))) or tensors[0].way
        shares = (show.percent(change / whole), show.percent(kept / change if change else 1.0))
        table.add_row(Text(kind), f"{len(tensors):,}", how, *shares)
    show.output.print(table)
    show.output.print(f"kept of all squared change: {show.percent(report.kept)}", highlight=False)
    if report.unchanged:
        show.output.print(f"unchanged tensors: {report.unchanged}", highlight=False)

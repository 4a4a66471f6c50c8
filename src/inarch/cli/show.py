"""What the command line shows: logs, plans, matches."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from inarch.io.progress import console as error_console

if TYPE_CHECKING:
    from inarch.demo import Results
    from inarch.match.report import ViewToken
    from inarch.settings import Settings

output = Console()


def log_to_screen(level: int) -> None:
    """Send the log to stderr: in colour beside the progress bars, or as plain lines in a file."""
    handler: logging.Handler
    if error_console.is_terminal:
        handler = RichHandler(console=error_console, show_path=False, markup=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("inarch")
    package.handlers = [handler]
    package.setLevel(level)


def show_plan(plan: Mapping[str, object], settings: "Settings | None" = None) -> None:
    """Print the resolved settings as YAML, and a plan as a table."""
    if settings is not None:
        from inarch.settings import dump

        output.print(dump(settings), markup=False, highlight=False, soft_wrap=True)
    table = Table("plan", "")
    for name, value in plan.items():
        table.add_row(name, Text(_show(value)))
    output.print(table)


def show_matches(
    rows: Sequence[Mapping[str, object]], views: Mapping[str, Sequence["ViewToken"]]
) -> None:
    """Print what `inarch.flows.match` found: a table, and one sentence in colour per source."""
    first = rows[0]
    onto = f"onto {_show(first['target_tokens'])} tokens of {_label(first['target'])}"
    table = Table("source", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=onto)
    for title in _COLUMNS.values():
        table.add_column(title, justify="right")
    for row in rows:
        cells = {name: Text(_show(row[name])) for name in _COLUMNS}
        if row["wrong"]:
            cells["wrong"].stylize("bold red")
        table.add_row(_label(row["source"]), *cells.values())
    output.print(table)
    for source, tokens in views.items():
        output.print(_sentence(source, tokens))
    legend = [Text(f" {meaning} ", _COLOURS[state]) for state, meaning in _MEANINGS.items()]
    output.print(*legend, "[dim]\\[what the source reads there][/]")


_COLUMNS = {
    "source_tokens": "tokens",
    "available": "available",
    "used": "used",
    "wrong": "wrong",
    "exact_share": "exact ids",
    "mapped_mass": "mapped",
    "tokens_per_second": "tokens /s",
}
_COLOURS = {"used": "black on green", "prefix": "black on yellow", "none": "white on red"}
_MEANINGS = {
    "used": "both end here",
    "prefix": "inside a token of the source",
    "none": "no word from the source",
}


def _sentence(source: str, tokens: Sequence["ViewToken"]) -> Text:
    """Return the target's tokens in colour, with the source's where they differ."""
    line = Text(f"{_label(source)}: ")
    for token in tokens:
        line.append(_visible(token.text), _COLOURS[token.state])
        if token.source_text != token.text:
            line.append(f"[{_visible(token.source_text)}]", "dim")
        line.append(" ")
    return line


def show_results(results: "Results") -> None:
    """Print what the demo found: a table per number, skills across, and the findings."""
    from inarch.demo import mean_sd

    for title, name, unit, digits in (
        ("right pieces of answers in %: more is better", "piece_frac", 100, 1),
        ("bits per byte of the right answers: less is better", "bits_per_byte", 1, 3),
    ):
        table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title)
        for skill in getattr(results.rows[0], name):
            table.add_column(skill, justify="right")
        for row in results.rows:
            over_seeds = [mean_sd(values) for values in getattr(row, name).values()]
            cells = (f"{unit * m:.{digits}f} ± {unit * sd:.{digits}f}" for m, sd in over_seeds)
            if len(results.seeds) == 1:
                cells = (cell.partition(" ")[0] for cell in cells)
            table.add_row(Text(row.label), *cells)
        output.print(table)
    if "pruned" in results.facts:
        _show_pruned(results.facts["pruned"])
    if "aligned" in results.facts:
        _show_aligned(results.facts["aligned"])
    spread = "one seed: no spread" if len(results.seeds) == 1 else "± standard deviation over seeds"
    output.print(f"{spread} ({_show(results.seeds)})\n")
    for finding in results.findings:
        output.print(f"• {finding}", markup=False)


def _show_pruned(told: Mapping[str, Any]) -> None:
    """Print the right pieces by removed blocks, a row per method."""
    from inarch.demo import mean_sd

    curves = told.get("curves", {})
    numbers = sorted({blocks for curve in curves.values() for blocks in curve})
    if not numbers:
        return
    title = f"{told['label']} with blocks removed: right pieces in %"
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title)
    for blocks in numbers:
        table.add_column(f"−{blocks}" if blocks else "all blocks", justify="right")
    for method, curve in curves.items():
        found = (mean_sd(curve[blocks]) if blocks in curve else None for blocks in numbers)
        cells = (
            "–" if cell is None else f"{100 * cell[0]:.1f} ± {100 * cell[1]:.1f}" for cell in found
        )
        if len(curve[0]) == 1:
            cells = (cell.partition(" ")[0] for cell in cells)
        table.add_row(Text(told["methods"][method]), *cells)
    output.print(table)


def _show_aligned(told: Mapping[str, Any]) -> None:
    """Print what is right after preferences, a row per model."""
    from inarch.demo import mean_sd

    title = "the target, aligned: right pieces in %"
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title)
    metrics = {"piece_frac": "most probable", "reward": "sampled"}
    for name in ("steps", *metrics.values()):
        table.add_column(name, justify="right")
    for model, label in told["labels"].items():
        cells = []
        for metric in metrics:
            mean, sd = mean_sd(told[metric][model])
            spread = f" ± {100 * sd:.1f}" if len(told[metric][model]) > 1 else ""
            cells.append(f"{100 * mean:.1f}{spread}")
        table.add_row(Text(label), str(told["num_steps"].get(model, "–")), *cells)
    output.print(table)


def percent(share: float) -> str:
    """Return a share in per cent; neither 0 nor 100 unless it is."""
    text = f"{100 * share:.1f}%"
    if text == "0.0%" and share > 0:
        return f"{100 * share:.1g}%"
    return "<100%" if text == "100.0%" and share < 1 else text


def _label(model: object) -> str:
    """Return a folder by its name, and a hub id whole."""
    path = Path(str(model))
    return path.name if path.is_dir() else str(model)


def _visible(text: str) -> str:
    return text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥")


def _show(value: object) -> str:
    """Return a number with thousands apart, or to three digits; other things as they are."""
    if isinstance(value, list | tuple):
        return ", ".join(_show(item) for item in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if is_count else str(value)

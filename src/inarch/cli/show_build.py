"""What ``inarch align build`` shows: who answered how well, what came of it, what was left out."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli.show import output, percent


def show_build(found: Mapping[str, Any]) -> None:
    """Print the statistics of a build."""
    if not found:  # another process of the launch has them
        return
    _models(found)
    _gaps(found)
    _left_out(found)


def _models(found: Mapping[str, Any]) -> None:
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title="answers")
    for title in ("asked", "no score", "mean score", "characters", "best source"):
        table.add_column(title, justify="right")
    for name, told in found["models"].items():
        cells = (
            f"{told['answers']:,}",
            f"{sum(told['failures'].values()):,}",
            _number(told["mean_score"]),
            _number(told["mean_characters"]),
            f"{found['wins'].get(name, 0):,}" if name in found["sources"] else "",
        )
        table.add_row(Text(name), *cells)
    output.print(table)


def _gaps(found: Mapping[str, Any]) -> None:
    table = Table(f"{found['rows']:,} {found['form']}", "", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, gap in found["gaps"].items():
        table.add_row(Text(name), f"mean {_number(gap['mean'])}, median {_number(gap['median'])}")
    if "source_above_target_frac" in found:
        table.add_row("source above target", percent(found["source_above_target_frac"]))
    if found["ties"]:
        table.add_row("ties between sources, won by the first", f"{found['ties']:,}")
    for name, length in found["mean_characters"].items():
        table.add_row(f"characters of {name}", _number(length))
    output.print(table)


def _left_out(found: Mapping[str, Any]) -> None:
    table = Table("left out", "", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for why, number in (found["unread"] | found["dropped"]).items():
        table.add_row(Text(why), f"{number:,}")
    for name, told in found["models"].items():
        for why, number in told["failures"].items():
            table.add_row(Text(f"answers of {name}: {why}"), f"{number:,}")
    if table.row_count:
        output.print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"

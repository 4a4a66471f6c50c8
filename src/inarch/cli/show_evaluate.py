"""What `inarch evaluate` prints for people."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from inarch.cli.show import output

if TYPE_CHECKING:
    from inarch.evaluate.alpaca_score import AlpacaScore


def show_alpaca(found: "AlpacaScore") -> None:
    """Print a model's win rates."""
    rate, lc = found.rate, found.controlled
    table = _table(f"AlpacaEval 2: {found.model}", "win rate", "%", "standard error")
    table.add_row("preference", f"{rate.win_rate:.2f}", f"{rate.standard_error:.2f}")
    table.add_row("discrete", f"{rate.discrete_win_rate:.2f}", "")
    if lc:
        table.add_row("length-controlled", f"{lc.win_rate:.2f}", f"{lc.standard_error:.2f}")
    if found.bootstrap_error is not None:
        table.add_row("  over draws of instructions", "", f"{found.bootstrap_error:.2f}")
    output.print(table)
    fit = "" if lc is None or lc.c is None else f"; C = {lc.c:.6g}"
    left_out = f", {rate.num_invalid} rows without a preference left out" * bool(rate.num_invalid)
    output.print(
        f"{rate.n} judgments: {rate.num_wins} won, {rate.num_losses} lost, {rate.num_draws}"
        f" drawn{left_out}{fit}",
        highlight=False,
    )


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(first, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for name in others:
        table.add_column(name, justify="right")
    return table

"""What the command line shows: logs, plans, matches."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from inarch.io.progress import console as error_console

if TYPE_CHECKING:
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


def show_plan(settings: "Settings", plan: Mapping[str, object]) -> None:
    """Print the resolved settings as YAML, and a plan as a table."""
    from inarch.settings import dump

    output.print(dump(settings), markup=False, soft_wrap=True)
    table = Table("plan", "")
    for name, value in plan.items():
        table.add_row(name, _show(value))
    output.print(table)


def _show(value: object) -> str:
    """Return a number with thousands apart, or to three digits; other things as they are."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)

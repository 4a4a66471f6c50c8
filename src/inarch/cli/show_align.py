"""What `inarch align train` prints: the first and the last numbers of a training."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli import show
from inarch.io.files import read_metrics

_TOLD = ("loss", "rewards/accuracies", "rewards/margins", "rewards/source_accuracies", "alpha")
"""What is shown of a line of metrics, where it is there; TRL's names."""


def show_training(out: Path) -> None:
    """Print the numbers of a training's first and last steps that were logged."""
    rows = read_metrics(out / "metrics.jsonl") if (out / "metrics.jsonl").exists() else []
    if not rows:  # of a launch of several processes, the first one has them
        return
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    ends = (rows[0], rows[-1]) if len(rows) > 1 else rows
    for row in ends:
        table.add_column(f"up to step {row['step']:,}", justify="right", no_wrap=True)
    for name in _TOLD:
        if name in rows[0]:
            table.add_row(Text(name), *(f"{row[name]:.4g}" for row in ends))
    show.output.print(table)
    show.output.print(f"all of them: {out / 'metrics.jsonl'}", style="dim", soft_wrap=True)

"""What `inarch align seft` prints: a column per round."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli import show


def show_rounds(rounds: Sequence[Mapping[str, Any]]) -> None:
    """Print the reports that `inarch.flows.seft.run` returned."""
    if not rounds:  # of a launch of several processes, the first one has them
        return
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for told in rounds:
        table.add_column(f"round {told['round']}", justify="right", no_wrap=True)
    columns = [_cells(told) for told in rounds]
    names = dict.fromkeys(name for cells in columns for name in cells)
    for name in names:
        table.add_row(Text(name), *(Text(cells.get(name, "–")) for cells in columns))
    show.output.print(table)
    if not all(told["annotation_free"] for told in rounds):
        show.output.print("not annotation-free: a scorer decides what is learnt", style="bold")


def _cells(told: Mapping[str, Any]) -> dict[str, str]:
    cells = {"reviser": told["reviser"] or "none", "answers": f"{told['num_answers']:,}"}
    cells |= {name: show.percent(share) for name, share in told["label_fracs"].items()}
    cells["original stands in"] = show.percent(
        sum(told["failures"].values()) / max(1, told["num_answers"])
    )
    cells["words changed"] = show.percent(told["mean_edit_frac"])
    cells["learnt"] = f"{told['num_learnt']:,}"
    if told["num_scored"]:
        cells["score before reviser"] = f"{told['score_before']:.3g}"
        cells["score after it"] = f"{told['score_after']:.3g}"
    cells["loss per token, first"] = f"{told['sft_loss_first']:.3f}"
    cells["loss per token, last"] = f"{told['sft_loss_last']:.3f}"
    return cells

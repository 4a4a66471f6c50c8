"""What `inarch align seft` prints: a row per round."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli import show


def show_rounds(rounds: Sequence[Mapping[str, Any]]) -> None:
    """Print the reports that `inarch.flows.seft.run` returned."""
    if not rounds:
        return
    scored = any(told["num_scored"] for told in rounds)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("round")
    columns = ["reviser", "answers", *rounds[0]["label_fracs"], "stands in", "changed", "learnt"]
    for title in [*columns, *(["score", "revised"] if scored else []), "loss"]:
        table.add_column(Text(title), justify="right")
    for told in rounds:
        cells = [str(told["round"]), told["reviser"] or "none", f"{told['num_answers']:,}"]
        cells += [show.percent(share) for share in told["label_fracs"].values()]
        cells += [f"{sum(told['failures'].values()):,}", show.percent(told["mean_edit_frac"])]
        cells.append(f"{told['num_rows']:,}")
        if scored:
            cells += [_score(told[name]) for name in ("score_before", "score_after")]
        cells.append(f"{told['sft_loss_first']:.3f} → {told['sft_loss_last']:.3f}")
        table.add_row(*map(Text, cells))
    show.output.print(table)
    show.output.print(
        "stands in: the original, for revisions that cannot be used; changed: words; loss: per"
        " token, first and last",
        style="dim",
        markup=False,
        highlight=False,
    )
    if not all(told["annotation_free"] for told in rounds):
        show.output.print("not annotation-free: a scorer decides what is learnt", style="bold")


def _score(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.3g}"

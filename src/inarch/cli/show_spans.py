"""What `inarch spans score` and `inarch spans screen` print."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from inarch.cli import show

if TYPE_CHECKING:
    from inarch.flows.spans_score import Scores
    from inarch.spans.metric import Score

_COMMONEST = 20
"""Strings that are shown."""


def show_scores(found: "Scores", name: str) -> None:
    """Print the official score of predictions, and of what stands beside them."""
    table = Table("", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("F1", "empty", "others", "better by", "p"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row(Path(name).name, *_cells(found.official), "", "")
    for other in found.beside:
        better = _with_error(other.better.difference, other.better.standard_error, sign=True)
        table.add_row(Path(other.name).name, *_cells(other.score), better, f"{other.better.p:.4f}")
    show.output.print(table)
    _say(
        f"F1 of characters, mean over {found.official.n:,} posts ± standard error; empty, others:"
        " posts without a gold span, and with one."
    )
    if found.beside:
        _say("better by: mean difference per post; p: paired permutation test, two-sided.")
    trained = [f"{o.name} {o.cpu_s:.1f}" for o in found.beside if o.cpu_s is not None]
    if trained:
        _say(f"Processor seconds of training: {', '.join(trained)}")
    words = "" if math.isnan(found.micro_word_f1) else f", words {found.micro_word_f1:.4f}"
    _say(f"Other scores, over all posts together: characters {found.micro_character_f1:.4f}{words}")
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in found.errors.items() if number)
    _say(f"Spans: {kinds or 'none'}")
    for why, number in found.skipped.items():
        _say(f"{number} {why}")


def show_report(report: Mapping[str, Any], *, plain: bool) -> None:
    """Print what a screening found; strings are veiled unless `plain`."""
    from inarch.spans.veil import veiled

    table = Table(report["action"], box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("rows", "flagged", "share", "spans"):
        table.add_column(title, justify="right")
    groups = report["groups"] if len(report["groups"]) > 1 else {}
    for name, group in {**groups, "all": report}.items():
        share = group["flagged"] / max(group["rows"], 1)
        counts = (f"{group['rows']:,}", f"{group['flagged']:,}", f"{share:.2%}")
        table.add_row(Text(name or "(none)"), *counts, f"{group['spans']:,}")
    show.output.print(table)
    if report.get("chats") and report["where"] == "answers":  # older reports do not say it
        _say("Answers only: spans of other turns do not count; --set where=all counts them too.")
    commonest = report["strings"][:_COMMONEST]
    if commonest:
        told = ", ".join(f"{text if plain else veiled(text)} {num:,}" for text, num in commonest)
        _say(f"Commonest: {told}")
    for why, number in report["skipped"].items():
        _say(f"{number:,} {why} are left out")
    if report["identities"]:
        told = ", ".join(f"{name} {rate:.0%}" for name, rate in report["identities"].items())
        _say(f"Neutral sentences that get a span once they name a group: {told}")
    if names := report.get("overlooked"):
        which = "these names" if len(names) == len(report["identities"]) else ", ".join(names)
        _say(f"Spans of nothing but {which} do not count above: the setting `overlook` has them.")


def _cells(found: "Score") -> list[str]:
    return [
        _with_error(found.f1, found.standard_error),
        _number(found.f1_empty),
        _number(found.f1_nonempty),
    ]


def _with_error(value: float, error: float, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.4f} ± {_number(error)}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _say(text: str) -> None:
    show.output.print(text, markup=False, highlight=False, soft_wrap=True)

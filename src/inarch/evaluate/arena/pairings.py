"""Battles between any two models, read from Arena-Hard's and Chatbot Arena's files.

Source:  the shape of lmarena/arena-hard-auto, ``arena_hard_battles.jsonl``.
Shapes:  N = battles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inarch.errors import DataError
from inarch.evaluate._rows import Row, read_rows, require

COLUMNS = ("question_id", "model_a", "model_b", "winner")
_SHARE = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5}
"""What a winner is worth to model_a."""


class Pairings(NamedTuple):
    """Battles between any two models."""

    prompts: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]
    outcome_N: NDArray[np.float64]
    """1 a wins, 0 b, 0.5 a tie."""

    def shared(self) -> set[str]:
        """Return the models that are in all battles."""
        return set.intersection(*({a, b} for a, b in zip(self.a, self.b, strict=True)))


def pairings_without_baseline(path: Path) -> Pairings | None:
    """Return a file's battles if no model is in all of them, else None.

    Raises:
        DataError: A row is wrong; it is named.
    """
    rows = read_rows(path)
    if "winner" not in rows[0].values:
        return None
    found = pairings_of(rows)
    return None if found.shared() else found


def read_pairings(path: Path) -> Pairings:
    """Return a file's battles.

    Raises:
        DataError: It is something else; the row is named.
    """
    return pairings_of(read_rows(path))


def pairings_of(rows: Sequence[Row]) -> Pairings:
    """Return the battles of rows.

    Raises:
        DataError: One is something else; it is named.
    """
    require(rows, COLUMNS, f"battles ({', '.join(COLUMNS)})")
    outcomes = []
    for row in rows:
        winner = row.text("winner")
        if winner not in _SHARE:
            raise DataError(
                f"{row.where}: winner: found {winner!r:.80}, expected {', '.join(_SHARE)}"
            )
        if row.text("model_a") == row.text("model_b"):
            raise DataError(
                f"{row.where}: found {row.text('model_a')} against itself; leave it out"
            )
        outcomes.append(_SHARE[winner])
    prompts, a, b = (tuple(row.text(name) for row in rows) for name in COLUMNS[:3])
    return Pairings(prompts, a, b, np.array(outcomes))

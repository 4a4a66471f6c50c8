"""The questions of published benchmarks."""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """One question, of one turn or two."""

    id: str
    category: str
    turns: tuple[str, ...]
    baseline: str | None = None
    """The answer that models are compared with, where the file holds it."""
    baseline_model: str = ""
    references: tuple[str, ...] = ()
    """Right answers, one per turn, where there are some."""

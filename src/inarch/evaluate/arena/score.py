"""Arena-Hard from files to numbers: a leaderboard, plain or with style held equal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import DataError
from inarch.evaluate.arena.battles import ArenaScore, ArenaSettings, Battles, results, score_battles
from inarch.evaluate.arena.files import read_battles, read_styles
from inarch.evaluate.arena.style import score_with_style
from inarch.evaluate.arena.verdicts import Version
from inarch.evaluate.protocol import Result, made_of


class ArenaLeaderboard(NamedTuple):
    """What all models got."""

    battles: Battles
    scores: Mapping[str, ArenaScore]
    """Best first, the baseline among them."""
    coefficients: Mapping[str, float]
    """Of style; empty where it is not controlled."""
    made: Mapping[str, Any]
    """The files and settings that it comes from."""

    def numbers(self) -> dict[str, dict[str, Any]]:
        """Return what ``--json`` prints."""
        return {model: row.numbers() for model, row in self.scores.items()}

    def results(self) -> list[Result]:
        """Return the score per prompt of each model, style not controlled, to compare."""
        return results(self.battles, self.scores, self.made)


class ArenaChoice(NamedTuple):
    """What is read of a file; what is None goes by the file."""

    version: Version | None = None
    baseline: str | None = None
    category: str | None = None


def score_arena(
    path: Path, settings: ArenaSettings, choice: ArenaChoice, style: Path | None = None
) -> ArenaLeaderboard:
    """Return the leaderboard of a file of battles or judgments.

    Args:
        path: The file, or a folder of JSONL files.
        settings: How scores are given.
        choice: What is read.
        style: Counts of the answers, where style is held equal.

    Raises:
        DataError: A file is wrong; the row is named.
    """
    battles = read_battles(path, choice.version, choice.baseline)
    if choice.category is not None:
        battles = _of_category(battles, choice.category)
    scores = score_battles(battles, settings)
    made = made_of({"battles": path, "style": style}, settings=settings.model_dump())
    if style is None:
        return ArenaLeaderboard(battles, scores, {}, made)
    controlled = score_with_style(battles, read_styles(style), settings)
    found = {
        model: scores[model]._replace(whole=score, by_category={})
        for model, score in controlled.scores.items()
    }
    return ArenaLeaderboard(battles, found, controlled.coefficients, made)


def _of_category(battles: Battles, category: str) -> Battles:
    known = dict.fromkeys(battles.categories)
    if not any(known):
        raise DataError(f"found no {category!r}: the file has no categories; leave --category out")
    if category not in known:
        names = ", ".join(name or "none" for name in known)
        raise DataError(f"found the categories {names}, not {category!r}; choose one of them")
    return battles.of_category(category)

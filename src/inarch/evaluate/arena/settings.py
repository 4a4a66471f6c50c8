"""The settings of Arena-Hard's two versions, judged live."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from inarch.errors import DataError
from inarch.evaluate.judges.baseline import BaselineSettings
from inarch.evaluate.judges.questions import Question, read_questions
from inarch.settings import PathSetting, Settings


class _ArenaProtocol(Settings):
    """What both versions share."""

    short: ClassVar[str] = "name"

    questions: PathSetting | None = None
    """A ``question.jsonl``; by default the official one."""
    prompts: PathSetting | None = None
    """YAML with ``system_prompt``, a text or one per category, and ``prompt_template``; by default
    the official ones."""


class ArenaV01Protocol(_ArenaProtocol):
    """Arena-Hard v0.1: 500 questions, against gpt-4-0314."""

    name: Literal["arena_hard_v0.1"] = "arena_hard_v0.1"
    baseline: BaselineSettings | None = None
    """Whom models meet; by default gpt-4-0314."""


class ArenaV2Protocol(_ArenaProtocol):
    """Arena-Hard v2: 500 hard prompts and 250 of creative writing, each with a baseline."""

    name: Literal["arena_hard_v2"] = "arena_hard_v2"
    categories: tuple[str, ...] = ()
    """Only these, of ``hard_prompt`` and ``creative_writing``; by default all."""
    baselines: dict[str, BaselineSettings] = Field(default_factory=dict)
    """Whom models meet, by category; by default o3-mini-2025-01-31 for ``hard_prompt`` and
    gemini-2.0-flash-001 for ``creative_writing``."""


def given_baselines(
    settings: ArenaV01Protocol | ArenaV2Protocol,
) -> dict[str, BaselineSettings]:
    """Return the baselines in place of the official ones, by category."""
    if isinstance(settings, ArenaV2Protocol):
        return settings.baselines
    return {"": settings.baseline} if settings.baseline else {}


def questions_of(path: Path, settings: ArenaV01Protocol | ArenaV2Protocol) -> tuple[Question, ...]:
    """Return the questions of the chosen categories.

    Raises:
        DataError: One has several turns, or none is of a category.
    """
    questions = read_questions(path, settings.name)
    long = next((question for question in questions if len(question.turns) > 1), None)
    if long is not None:
        raise DataError(
            f"{path}: found the question {long.id!r:.80} of {len(long.turns)} turns; expected one"
        )
    if isinstance(settings, ArenaV01Protocol) or not settings.categories:
        return questions
    known = dict.fromkeys(question.category for question in questions)
    for name in settings.categories:
        if name not in known:
            raise DataError(
                f"{path}: found no question of the category {name!r}, but of {', '.join(known)};"
                " choose among these"
            )
    return tuple(question for question in questions if question.category in settings.categories)

"""What a scorer is asked, and what it says."""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from inarch.records import Message


class Question(NamedTuple):
    """A prompt with answers to score."""

    where: str
    """Row of the prompts, for messages."""
    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    """Different ones, none of them empty."""
    reference: str | None = None
    """What is right, where it is known."""


class NoScore(NamedTuple):
    """Why an answer has no score."""

    reason: str


Result = float | NoScore
Scores = Generator[tuple[int, list[Result]]]
Scorer = Callable[[Sequence[Question]], Scores]
"""Yields the number of a question and a result per answer of it, in any order of questions, as soon
as it has them."""

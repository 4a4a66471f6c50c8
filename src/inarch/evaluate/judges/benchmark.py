"""What a benchmark asks a judge, and how it reads what the judge says: one interface for all.

A benchmark turns a model's answers into cases; a case is one question to the judge. The judge's
replies become one ruling per case, and the rulings of a model become files in the official shape
and a `Result`. Who answers and how replies are fetched and kept is not known here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import SettingsError
from inarch.evaluate.judges.official import BenchmarkName
from inarch.evaluate.judges.questions import Question
from inarch.evaluate.protocol import DIGEST_DIGITS, Result
from inarch.io.endpoints import Reply
from inarch.io.sampling import SamplingSettings
from inarch.records import Message

Dialogues = Mapping[str, tuple[str, ...]]
"""A model's answers by question, one per turn; a question without all of them is not in it."""


class JudgeOptions(NamedTuple):
    """How a benchmark asks its judge."""

    temperature: float
    max_tokens: int
    top_logprobs: int | None = None
    """The ruling is read from this many of the most probable first tokens."""


class Case(NamedTuple):
    """One question to a judge about one model's answers."""

    question: str
    """Of the benchmark, by its id."""
    part: str
    """Which of the question's games or turns, such as ``game 1``; the order is not in it."""
    messages: tuple[Message, ...]
    model_first: bool | None = None
    """The judge sees the model's answer before the other; None where it sees one only."""
    ruling: Ruling | None = None
    """What holds without asking, such as a draw of equal answers."""


class Ruling(NamedTuple):
    """What a judge says in a case."""

    value: float
    """Of a comparison the model's chance to win, in [0, 1]; else the rating. NaN where there is
    none."""
    label: str = ""
    """The verdict as the judge writes it."""
    words: str = ""
    """All that the judge wrote."""
    failure: str = ""
    """Why there is no value."""


class JudgedModel(NamedTuple):
    """One judge's rulings on one model."""

    model: str
    judge: str
    """As the endpoint calls it, or as the recipe does where it never answered."""
    dialogues: Dialogues
    cases: tuple[Case, ...]
    rulings: tuple[Ruling, ...]
    """One per case."""
    replies: tuple[tuple[Reply, ...], ...] = ()
    """What the rulings are read from, in the order of asking; none for what was not asked."""

    @property
    def num_invalid(self) -> int:
        """Return how many cases have no value."""
        return sum(math.isnan(ruling.value) for ruling in self.rulings)


def described(
    names: Mapping[str, str], digests: Mapping[str, str], num_asked: int, num_all: int
) -> dict[str, str]:
    """Return files by name and digest, for a record.

    Args:
        names: Of the files, by what they are, ``questions`` among them.
        digests: Of the same.
        num_asked: How many questions are asked, the first ones.
        num_all: How many there are.
    """
    told = {what: f"{name} {digests[what][:DIGEST_DIGITS]}" for what, name in names.items()}
    if num_asked < num_all:
        told["questions"] += f", the first {num_asked}"
    return told


class Benchmark(ABC):
    """A published protocol with its questions and prompts, ready to be asked."""

    name: BenchmarkName
    questions: tuple[Question, ...]
    options: JudgeOptions
    inputs: Mapping[str, str] = {}
    """Digests of what it is made of: questions, prompts, references, baseline answers."""
    num_asks = 1
    """Replies that a case takes at most, follow-ups included."""

    @property
    def awaits(self) -> tuple[str, ...]:
        """Return models of the run whose answers the cases of the others need."""
        return ()

    def meet(self, answered: Mapping[str, Dialogues]) -> None:  # noqa: B027  (most need nothing)
        """Take what cases need of the models' answers, before the first are made.

        Raises:
            SettingsError: One that is needed is not among them.
        """

    def discrete(self) -> Benchmark:
        """Return what stands in where the judge gives no log-probs, under a record of its own.

        Raises:
            SettingsError: There is none, or the settings do not allow it.
        """
        raise SettingsError(
            f"{self.name} reads log-probs of the judge's first token, which it does not give; take"
            " another judge"
        )

    @abstractmethod
    def sampling(self, question: Question) -> SamplingSettings:
        """Return how candidates answer a question, where the recipe does not say."""

    @abstractmethod
    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        """Return what a judge is asked about a model's answers."""

    @abstractmethod
    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        """Return what replies to a case say, the last of which may answer a follow-up."""

    def follow_up(self, case: Case, replies: Sequence[Reply]) -> tuple[Message, ...] | None:
        """Return what to ask next in a case, nothing where the replies are enough."""
        return None

    @abstractmethod
    def save(self, path: Path, judged: JudgedModel) -> Path:
        """Write a model's rulings in the official shape to a file; return it.

        Args:
            path: The file without its ending.
            judged: The rulings.
        """

    @abstractmethod
    def result(self, judged: JudgedModel) -> Result:
        """Return what a model got, by the benchmark's own rules.

        Raises:
            DataError: No ruling has a value.
        """

    def together(self, judged: Sequence[JudgedModel]) -> Mapping[str, Any]:
        """Return what is to be told of models that depends on which there are, by what it is.

        Args:
            judged: All models that one judge gave a result, one at least.
        """
        return {}

"""Whom models meet: a file of answers, or a model of the run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from pydantic import model_validator

from inarch.errors import DataError, SettingsError
from inarch.evaluate.judges.answers import NO_ANSWER, answering_model, read_model_answers
from inarch.evaluate.judges.benchmark import Dialogues
from inarch.evaluate.judges.official import BenchmarkName
from inarch.evaluate.judges.questions import Question
from inarch.settings import PathSetting, Settings

logger = logging.getLogger(__name__)


class BaselineSettings(Settings):
    """A model that others meet. A bare string is the file of its answers."""

    short: ClassVar[str] = "answers"

    answers: PathSetting | None = None
    """In the official shape; by default those of the run's model of this name."""
    name: str = ""
    """What reports call it; by default what the file does."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.answers is None and not self.name:
            raise ValueError("expected answers, a file, or name, that of a model of this run")
        return self


class Baseline(NamedTuple):
    """A model that others meet."""

    model: str
    questions: tuple[Question, ...]
    """On which they meet."""
    answers: Dialogues | None = None
    """To the questions, as far as it answered all their turns; None before it has answered."""

    @property
    def digest(self) -> str:
        """Return the sha256 of its answers."""
        content = json.dumps(list((self.answers or {}).items()))
        return hashlib.sha256(content.encode()).hexdigest()

    def meet(self, answered: Mapping[str, Dialogues]) -> Baseline:
        """Return the same with the answers of a model of the run, where it awaits them.

        Raises:
            SettingsError: It is no model of the run.
            DataError: It answered no question.
        """
        if self.answers is not None:
            return self
        if self.model not in answered:
            raise SettingsError(
                f"found the baseline {self.model!r} without answers, and the models"
                f" {', '.join(answered)}; name one of these, or give a file of answers"
            )
        return self.take(answered[self.model])

    def take(self, answers: Dialogues) -> Baseline:
        """Return the same with answers; a question that is not answered in full is told.

        Raises:
            DataError: None is.
        """
        own = {q.id: answers.get(q.id, ())[: len(q.turns)] for q in self.questions}
        missing = [
            q.id for q in self.questions if len(own[q.id]) < len(q.turns) or NO_ANSWER in own[q.id]
        ]
        if len(missing) == len(own):
            raise DataError(
                f"found no whole answer of the baseline {self.model} to any of {len(own)}"
                f" questions, such as {missing[0]!r:.80}; give its answers to these questions"
            )
        if missing:
            logger.warning(
                "the baseline %s has no whole answer to %d of %d questions, such as %s; they are"
                " not judged",
                *(self.model, len(missing), len(own), missing[0]),
            )
        return self._replace(answers={q: said for q, said in own.items() if q not in missing})


def open_baseline(
    benchmark: BenchmarkName, questions: Sequence[Question], path: Path | None, model: str = ""
) -> Baseline:
    """Return a baseline, with its answers if there is a file of them.

    Args:
        benchmark: Whose shape the file has.
        questions: On which models meet it.
        path: Its answers; without a file it is a model of the run.
        model: Its name; by default what the file says.

    Raises:
        DataError: The file is absent or something else, or is about other questions.
    """
    if path is None:
        return Baseline(model, tuple(questions))
    answers = read_model_answers(path, benchmark)
    model = model or answering_model(path, benchmark)
    return Baseline(model, tuple(questions)).take(answers)

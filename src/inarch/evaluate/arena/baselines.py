"""Whom Arena-Hard's models meet: the official baselines, those of a file, or models of the run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from inarch.errors import DataError, SettingsError
from inarch.evaluate.arena.files import BASELINES
from inarch.evaluate.arena.verdicts import Version
from inarch.evaluate.judges.answers import NO_ANSWER, answering_model, read_model_answers
from inarch.evaluate.judges.baseline import BaselineSettings
from inarch.evaluate.judges.benchmark import Dialogues
from inarch.evaluate.judges.official import BenchmarkName, find
from inarch.evaluate.judges.questions import Question

logger = logging.getLogger(__name__)

_BENCHMARK: Mapping[Version, BenchmarkName] = {"v0.1": "arena_hard_v0.1", "v2": "arena_hard_v2"}


class Baseline(NamedTuple):
    """A model that others meet."""

    model: str
    answers: Mapping[str, str] | None
    """By question; None before it has answered."""
    digest: str
    """Of its answers; ``""`` before there are some."""


class Baselines(NamedTuple):
    """Whom models meet."""

    of: Mapping[str, Baseline]
    """By category."""

    def models(self) -> tuple[str, ...]:
        """Return their names."""
        return tuple(dict.fromkeys(baseline.model for baseline in self.of.values()))

    def digests(self) -> dict[str, str]:
        """Return the digests of their answers, as far as they have answered."""
        return {
            f"answers of {row.model}" + (f" to {name}" if name else ""): row.digest
            for name, row in self.of.items()
            if row.answers is not None
        }

    def described(self, digits: int) -> list[str]:
        """Return whose answers are compared with, with so many digits of their digests."""
        texts = (f"{row.model}'s answers {row.digest[:digits]}" for row in self.of.values())
        return list(dict.fromkeys(texts))

    def answer(self, question: Question) -> str | None:
        """Return the baseline's answer to a question, None where there is none."""
        return (self.of[question.category].answers or {}).get(question.id)

    def awaited(self) -> tuple[str, ...]:
        """Return the models of the run that are yet to answer."""
        return tuple(dict.fromkeys(b.model for b in self.of.values() if b.answers is None))

    def met(self, answered: Mapping[str, Dialogues]) -> Baselines:
        """Return the same with the answers of the run's models.

        Raises:
            SettingsError: One is no model of the run.
        """
        return Baselines({name: _met(row, answered) for name, row in self.of.items()})


def open_baselines(
    version: Version, questions: Sequence[Question], given: Mapping[str, BaselineSettings]
) -> Baselines:
    """Return the baseline of each category that there are questions of.

    Args:
        version: Of the benchmark.
        questions: All of them.
        given: By category, in place of the official ones.

    Raises:
        DataError: A file is absent or something else, is about other questions, or is given for a
            category that has none.
    """
    categories = dict.fromkeys(question.category for question in questions)
    for name in given:
        if name not in categories:
            raise DataError(
                f"found a baseline for the category {name!r}, and questions of"
                f" {', '.join(categories)}; choose among these"
            )
    of = {}
    for name in categories:
        official = BASELINES[version].get(name, BASELINES[version][""])
        of[name] = _opened(version, official, given.get(name))
        own = [question.id for question in questions if question.category == name]
        _check_answers(of[name], own)
    return Baselines(of)


def _opened(version: Version, official: str, given: BaselineSettings | None) -> Baseline:
    if given is not None and given.answers is None:
        return Baseline(given.name, None, "")
    benchmark = _BENCHMARK[version]
    file = find(f"{benchmark}/{official}.jsonl", given.answers if given else None)
    answers = read_model_answers(file.path, benchmark)
    model = (given.name or answering_model(file.path, benchmark)) if given else official
    said = {q: turns[0] for q, turns in answers.items() if turns[0] != NO_ANSWER}
    return Baseline(model, said, file.sha256)


def _check_answers(baseline: Baseline, questions: Sequence[str]) -> None:
    if baseline.answers is None:
        return
    missing = [question for question in questions if question not in baseline.answers]
    if len(missing) == len(questions):
        raise DataError(
            f"found no answer of the baseline {baseline.model} to any of {len(questions)}"
            f" questions, such as {missing[0]!r:.80}; give its answers to these questions"
        )
    if missing:
        logger.warning(
            "the baseline %s has no answer to %d of %d questions, such as %s; they are not judged",
            *(baseline.model, len(missing), len(questions), missing[0]),
        )


def _met(baseline: Baseline, answered: Mapping[str, Dialogues]) -> Baseline:
    if baseline.answers is not None:
        return baseline
    if baseline.model not in answered:
        raise SettingsError(
            f"found the baseline {baseline.model!r} without answers, and the models"
            f" {', '.join(answered)}; name one of these, or give a file of answers"
        )
    answers = {question: turns[0] for question, turns in answered[baseline.model].items()}
    content = json.dumps(sorted(answers.items()))
    return baseline._replace(answers=answers, digest=hashlib.sha256(content.encode()).hexdigest())

"""Whom Arena-Hard's models meet: the official baselines, those of a file, or models of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from inarch.errors import DataError
from inarch.evaluate.arena.files import BASELINES
from inarch.evaluate.arena.verdicts import Version
from inarch.evaluate.judges.baseline import Baseline, BaselineSettings, open_baseline
from inarch.evaluate.judges.benchmark import Dialogues
from inarch.evaluate.judges.official import BenchmarkName, find
from inarch.evaluate.judges.questions import Question
from inarch.evaluate.protocol import DIGEST_DIGITS

_BENCHMARK: Mapping[Version, BenchmarkName] = {"v0.1": "arena_hard_v0.1", "v2": "arena_hard_v2"}


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

    def described(self) -> list[str]:
        """Return whose answers are compared with, for a record."""
        texts = (f"{row.model}'s answers {row.digest[:DIGEST_DIGITS]}" for row in self.of.values())
        return list(dict.fromkeys(texts))

    def answer(self, question: Question) -> str | None:
        """Return the baseline's answer to a question, None where there is none."""
        turns = (self.of[question.category].answers or {}).get(question.id)
        return turns[0] if turns else None

    def awaited(self) -> tuple[str, ...]:
        """Return the models of the run that are yet to answer."""
        return tuple(dict.fromkeys(b.model for b in self.of.values() if b.answers is None))

    def meet(self, answered: Mapping[str, Dialogues]) -> Baselines:
        """Return the same with the answers of the run's models.

        Raises:
            SettingsError: One is no model of the run.
            DataError: One answered no question.
        """
        return Baselines({name: row.meet(answered) for name, row in self.of.items()})


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
    benchmark, of = _BENCHMARK[version], {}
    for name in categories:
        own = [question for question in questions if question.category == name]
        if name in given:
            of[name] = open_baseline(benchmark, own, given[name].answers, given[name].name)
        else:
            model = BASELINES[version].get(name, BASELINES[version][""])
            file = find(f"{benchmark}/{model}.jsonl")
            of[name] = open_baseline(benchmark, own, file.path, model)
    return Baselines(of)

"""MT-Bench's settings, and the files that they name: questions, prompts, references.

Source:  lm-sys/FastChat at 0e6d3e4, fastchat/llm_judge: ``gen_judgment.py``, ``common.py``,
         ``gen_model_answer.py``.
Differs: the references are chosen by name, where FastChat takes those that are named after the
         judge. Answers are drawn from all of the distribution at the category's temperature: a
         local model's own generation settings, top_k 50 of transformers among them, do not apply.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from inarch.errors import DataError
from inarch.evaluate.judges.answers import read_model_answers
from inarch.evaluate.judges.baseline import BaselineSettings
from inarch.evaluate.judges.benchmark import described
from inarch.evaluate.judges.official import Found, find
from inarch.evaluate.judges.prompts import JudgePrompt, read_judge_prompts
from inarch.evaluate.judges.questions import Question, read_questions, with_references
from inarch.evaluate.mt_bench.prompts import NEED_REFERENCES, Mode, check_prompts
from inarch.evaluate.protocol import ProtocolRecord
from inarch.io.sampling import SamplingSettings
from inarch.settings import PathSetting, Settings

logger = logging.getLogger(__name__)

_REFERENCES = ("gpt-4", "gpt-4-0125-preview", "gpt-4-1106-preview")
_WRONG = (104, 105, 109, 111, 113, 114, 120, 122, 124, 125, 126, 128, 130)
"""Questions whose official reference is wrong: FastChat's pull request 3158."""
_GREEDY = ("extraction", "math", "coding", "reasoning")
_NEARLY_GREEDY = ("stem", "humanities")


class MtBenchProtocol(Settings):
    """MT-Bench: 80 dialogues of two turns."""

    short: ClassVar[str] = "name"

    name: Literal["mt_bench"] = "mt_bench"
    mode: Mode = "single"
    """Each answer is rated alone; or ``pairwise``, compared with the baseline's in both orders."""
    baseline: BaselineSettings | None = None
    """Whom models meet in pairs: a file of its answers, or the name of a model of this run."""
    questions: PathSetting | None = None
    """A ``question.jsonl``; by default the official one."""
    prompts: PathSetting | None = None
    """A ``judge_prompts.jsonl``; by default the official one."""
    references: str = "gpt-4"
    """The right answers that the judge is shown for math, reasoning and coding: ``gpt-4`` (the
    official ones, 13 of 30 known to be wrong), ``gpt-4-0125-preview``, ``gpt-4-1106-preview``, or
    a file of the same shape. Scores under different ones do not compare."""

    @model_validator(mode="after")
    def _nothing_dead(self) -> Self:
        if (self.mode == "pairwise") != (self.baseline is not None):
            raise ValueError(
                f"found mode {self.mode} with{'' if self.baseline else 'out'} a baseline; mode"
                " pairwise needs one, and mode single none"
            )
        return self


class MtBenchFiles(NamedTuple):
    """What a judge is asked with."""

    questions: tuple[Question, ...]
    """With references, where their category needs them."""
    prompts: Mapping[str, JudgePrompt]
    """By name."""
    names: Mapping[str, str]
    """What a record calls the questions, the prompts and the references."""
    digests: Mapping[str, str]
    """Of the same, sha256."""

    def record(self, known: ProtocolRecord, num_questions: int, judging: str) -> ProtocolRecord:
        """Return a record with what is known of the files.

        Args:
            known: The others of its fields.
            num_questions: How many of the questions are asked, the first ones.
            judging: How the judge is asked and read.
        """
        told = described(self.names, self.digests, num_questions, len(self.questions))
        update = {
            "data": told["questions"],
            "prompts": told["prompts"],
            "references": told.get("references", ""),
            "judging": judging,
        }
        return known.model_copy(update=update)


def open_files(settings: MtBenchProtocol) -> MtBenchFiles:
    """Return the files that settings name.

    Raises:
        DataError: One is absent or something else, or a reference is missing.
    """
    asked = find("mt_bench/question.jsonl", settings.questions)
    prompts = read_judge_prompts("mt_bench", settings.prompts)
    given = None if prompts.is_official else settings.prompts
    names = {
        "questions": "question.jsonl" if asked.is_official else asked.path.name,
        "prompts": given.name if given else "judge_prompts.jsonl",
    }
    digests = {"questions": asked.sha256, "prompts": prompts.digest}
    check_prompts(prompts.of, settings.mode, names["prompts"])
    questions = read_questions(asked.path, "mt_bench")
    _check(questions, asked.path)
    if any(question.category in NEED_REFERENCES for question in questions):
        names["references"], found = _find_references(settings.references)
        digests["references"] = found.sha256
        questions = _with_references(questions, found.path)
        if names["references"] == _REFERENCES[0]:
            _warn_of_wrong_references(questions)
    return MtBenchFiles(questions, prompts.of, names, digests)


def sampling_of(question: Question) -> SamplingSettings:
    """Return how a question is answered: at most 1024 tokens, at its category's temperature."""
    temperature = 0.7
    if question.category in _GREEDY:
        temperature = 0.0
    elif question.category in _NEARLY_GREEDY:
        temperature = 0.1
    return SamplingSettings(temperature=temperature, top_p=1.0, max_new_tokens=1024, seed=0)


def _find_references(given: str) -> tuple[str, Found]:
    """Return reference answers with their name; a file that is an official one has its name."""
    if given in _REFERENCES:
        return given, find(f"mt_bench/{given}.jsonl")
    path = Path(given)
    for name in _REFERENCES:
        found = find(f"mt_bench/{name}.jsonl", path)
        if found.is_official:
            return name, found
    return path.name, found


def _check(questions: Sequence[Question], path: Path) -> None:
    for question in questions:
        if not question.id.isdecimal() or len(question.turns) > 2:
            raise DataError(
                f"{path}: found the question {question.id!r:.80} of {len(question.turns)} turns;"
                " expected a whole number for its id, and one turn or two"
            )


def _with_references(questions: Sequence[Question], path: Path) -> tuple[Question, ...]:
    found = with_references(questions, read_model_answers(path, "mt_bench"))
    missing = [
        question.id
        for question in found
        if question.category in NEED_REFERENCES and len(question.references) < len(question.turns)
    ]
    if missing:
        raise DataError(
            f"{path}: found no reference answers to {len(missing)} questions of"
            f" {', '.join(sorted(NEED_REFERENCES))}, such as {', '.join(missing[:5])}; expected one"
            " to each of their turns, which the judge is shown"
        )
    return found


def _warn_of_wrong_references(questions: Sequence[Question]) -> None:
    wrong = [q.id for q in questions if q.id in {str(number) for number in _WRONG}]
    if wrong:
        logger.warning(
            "the references of gpt-4 are known to be wrong for %d questions (%s); they are the"
            " official ones. Papers since 2024 take gpt-4-0125-preview or gpt-4-1106-preview",
            len(wrong),
            ", ".join(wrong),
        )

"""MT-Bench, judged live: both turns of 80 dialogues are rated from 1 to 10.

Source:  lm-sys/FastChat at 0e6d3e4, fastchat/llm_judge: ``gen_judgment.py``, ``common.py``,
         ``gen_model_answer.py``.
Differs: a local candidate's dialogue is written by its tokenizer's chat template, not by one that
         its name is taken for, and its own generation settings (top_k 50 of transformers among
         them) do not apply: what is drawn from is all of the distribution at the temperature. A
         question that is not answered in full is not judged, where FastChat judges ``$ERROR$``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from inarch.errors import DataError
from inarch.evaluate.benchmark_answers import read_model_answers, write_model_answers
from inarch.evaluate.benchmark_questions import Question, read_questions, with_references
from inarch.evaluate.judge_prompts import read_judge_prompts
from inarch.evaluate.judging import Benchmark, Case, Dialogues, JudgedModel, JudgeOptions, Ruling
from inarch.evaluate.mt_bench import INVALID, Rating, category_of, rating_of, results
from inarch.evaluate.mt_bench_files import write_judgments
from inarch.evaluate.mt_bench_prompts import NEED_REFERENCES, check_places, fill, prompt_name
from inarch.evaluate.official import Found, find
from inarch.evaluate.protocol import ProtocolRecord, Result
from inarch.io.endpoints import Reply
from inarch.io.files import make_folder
from inarch.io.sampling import SamplingSettings
from inarch.settings import PathSetting, Settings

logger = logging.getLogger(__name__)

_REFERENCES = ("gpt-4", "gpt-4-0125-preview", "gpt-4-1106-preview")
_WRONG = (104, 105, 109, 111, 113, 114, 120, 122, 124, 125, 126, 128, 130)
"""Questions whose official reference is wrong: FastChat's pull request 3158."""
_TEMPERATURES = {"extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0} | {
    "stem": 0.1,
    "humanities": 0.1,
}
_OTHER_TEMPERATURE = 0.7
_FAILED = "$ERROR$"
"""What FastChat writes for a judgment, or an answer, that it did not get."""
_ANSWERS = "model_answer"
"""Folder of answers, beside the judgments."""
_SHORT = 16
"""Hexadecimal digits of a digest in a record."""


class MtBenchProtocol(Settings):
    """MT-Bench: each answer is rated alone."""

    short: ClassVar[str] = "name"

    name: Literal["mt_bench"] = "mt_bench"
    questions: PathSetting | None = None
    """A ``question.jsonl``; by default the official one."""
    prompts: PathSetting | None = None
    """A ``judge_prompts.jsonl``; by default the official one."""
    references: str = "gpt-4"
    """The right answers that the judge is shown for math, reasoning and coding: ``gpt-4`` (the
    official ones, 13 of 30 known to be wrong), ``gpt-4-0125-preview``, ``gpt-4-1106-preview``, or
    a file of the same shape. Scores under different ones do not compare."""


class MtBenchBenchmark(Benchmark):
    """See `inarch.evaluate.judging`."""

    name = "mt_bench"
    options = JudgeOptions(temperature=0.0, max_tokens=2048)

    def __init__(self, settings: MtBenchProtocol) -> None:
        asked = find("mt_bench/question.jsonl", settings.questions)
        prompts = read_judge_prompts("mt_bench", settings.prompts)
        prompts_name = "judge_prompts.jsonl"
        if settings.prompts is not None and not prompts.is_official:
            prompts_name = settings.prompts.name
        references = _find_references(settings.references)
        self._names = {
            "questions": _name(asked, "question.jsonl"),
            "prompts": prompts_name,
            "references": references[0],
        }
        self.inputs = {
            "questions": asked.sha256,
            "prompts": prompts.digest,
            "references": references[1].sha256,
        }
        check_places(prompts.of, "single", prompts_name)
        self.prompts = prompts.of
        self.questions = _read_questions(asked.path, references[1].path)
        self._num_all = len(self.questions)
        if self._names["references"] == _REFERENCES[0]:
            _warn_of_wrong_references(self.questions)

    def sampling(self, question: Question) -> SamplingSettings:
        """Return answers of at most 1024 tokens at the category's temperature."""
        temperature = _TEMPERATURES.get(question.category, _OTHER_TEMPERATURE)
        return SamplingSettings(temperature=temperature, top_p=1.0, max_new_tokens=1024, seed=0)

    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        """Return one case per turn that is answered."""
        return [
            Case(
                question.id,
                f"turn {turn}",
                fill(
                    self.prompts[prompt_name(question, turn, "single")],
                    question,
                    turn,
                    {"answer": dialogues[question.id]},
                ),
            )
            for question in self.questions
            if question.id in dialogues
            for turn in range(1, len(question.turns) + 1)
        ]

    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        """Return the rating."""
        last = replies[-1]
        rating = rating_of(last.text)
        if rating == INVALID:
            cut = last.finish_reason == "length"
            failure = "the judgment is cut before a rating" if cut else "no rating in the judgment"
            return Ruling(math.nan, words=last.text, failure=failure)
        return Ruling(rating, f"{rating:g}", last.text)

    def save(self, path: Path, judged: JudgedModel) -> Path:
        """Write FastChat's judgments, and the answers into ``model_answer`` beside them."""
        file = path.with_name(f"{path.name}.jsonl")
        ratings = self._ratings(judged)
        words = [ruling.words or _FAILED for ruling in judged.rulings]
        write_judgments(file, list(zip(ratings, words, strict=True)))
        make_folder(path.parent / _ANSWERS)
        write_model_answers(
            path.parent / _ANSWERS / file.name,
            "mt_bench",
            judged.model,
            self.questions,
            judged.dialogues,
        )
        return file

    def result(self, judged: JudgedModel) -> Result:
        """Return the mean ratings."""
        made = {"n_unanswered": sum(q.id not in judged.dialogues for q in self.questions)}
        found = results(self._ratings(judged), made=made)
        if not found:
            raise DataError(
                f"{judged.model}: none of {len(judged.cases)} judgments of {judged.judge} holds a"
                f" rating; {_commonest(judged)}"
            )
        return found[0]._replace(protocol=self._record(judged.judge))

    def _ratings(self, judged: JudgedModel) -> list[Rating]:
        """Return the rulings as FastChat's rows."""
        by_id = {question.id: question for question in self.questions}
        found = []
        for case, ruling in zip(judged.cases, judged.rulings, strict=True):
            question, turn = by_id[case.question], int(case.part.removeprefix("turn "))
            found.append(
                Rating(
                    int(question.id),
                    question.category or category_of(int(question.id)),
                    judged.model,
                    turn,
                    INVALID if math.isnan(ruling.value) else ruling.value,
                    judged.judge,
                    prompt_name(question, turn, "single"),
                )
            )
        return found

    def _record(self, judge: str) -> ProtocolRecord:
        told = {key: f"{name} {self.inputs[key][:_SHORT]}" for key, name in self._names.items()}
        if len(self.questions) < self._num_all:
            told["questions"] += f", the first {len(self.questions)}"
        return ProtocolRecord(
            benchmark="mt_bench",
            version="1",
            score="rating of both turns, 1 to 10",
            judge=judge,
            references=told["references"],
            data=told["questions"],
            prompts=told["prompts"],
            judging="temperature 0, 2048 tokens, the first [[rating]], else the first [rating]",
        )


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


def _read_questions(asked: Path, references: Path) -> tuple[Question, ...]:
    """Return the questions with their references.

    Raises:
        DataError: An id is no number, there are more than two turns, or a reference is missing.
    """
    answers = read_model_answers(references, "mt_bench")
    questions = with_references(read_questions(asked, "mt_bench"), answers)
    for question in questions:
        if not question.id.isdecimal() or len(question.turns) > 2:
            raise DataError(
                f"{asked}: found the question {question.id!r:.80} of {len(question.turns)} turns;"
                " expected a whole number for its id, and one turn or two"
            )
    missing = [
        question.id
        for question in questions
        if question.category in NEED_REFERENCES and len(question.references) < len(question.turns)
    ]
    if missing:
        raise DataError(
            f"{references}: found no reference answers to {len(missing)} questions of"
            f" {', '.join(sorted(NEED_REFERENCES))}, such as {', '.join(missing[:5])}; expected one"
            " to each of their turns, which the judge is shown"
        )
    return questions


def _warn_of_wrong_references(questions: Sequence[Question]) -> None:
    wrong = [q.id for q in questions if q.id in {str(number) for number in _WRONG}]
    if wrong:
        logger.warning(
            "the references of gpt-4 are known to be wrong for %d questions (%s); they are the"
            " official ones. Papers since 2024 take gpt-4-0125-preview or gpt-4-1106-preview",
            len(wrong),
            ", ".join(wrong),
        )


def _name(found: Found, official: str) -> str:
    return official if found.is_official else found.path.name


def _commonest(judged: JudgedModel) -> str:
    failures = [ruling.failure for ruling in judged.rulings]
    return max(set(failures), key=failures.count) if failures else "it answered no question"

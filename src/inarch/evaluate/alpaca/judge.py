"""AlpacaEval 2, judged live: one token per instruction, read from its log-probs.

Source:  Li et al., AlpacaEval; tatsu-lab/alpaca_eval at cd543a1, the annotator
         ``weighted_alpaca_eval_gpt4_turbo``.
Differs: question and answers are put into the judge's prompt at once, and after its ChatML is
         split; the package fills one place after another and splits last, so that an answer that
         holds ``{output_2}`` or a mark of ChatML changes or cuts the question. ``order: both`` and
         reading the text are not in the package, and have names and records of their own.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from inarch import __version__
from inarch.errors import DataError, SettingsError
from inarch.evaluate.alpaca._index import index_of
from inarch.evaluate.alpaca.files import judged as judged_rows
from inarch.evaluate.alpaca.files import read_gamed, write_annotations
from inarch.evaluate.alpaca.length_control import NUM_FOLDS, LengthControlSettings
from inarch.evaluate.alpaca.preferences import ANNOTATOR, BASELINE, is_swapped, preference
from inarch.evaluate.alpaca.rulings import annotate, judge_names
from inarch.evaluate.alpaca.score import GAMED, score_judged
from inarch.evaluate.judges import official
from inarch.evaluate.judges.answers import (
    FOLDER,
    answering_model,
    read_model_answers,
    write_model_answers,
)
from inarch.evaluate.judges.benchmark import (
    Benchmark,
    Case,
    Dialogues,
    JudgedModel,
    JudgeOptions,
    Ruling,
)
from inarch.evaluate.judges.official import BenchmarkName
from inarch.evaluate.judges.prompts import JudgePrompts, read_judge_prompts
from inarch.evaluate.judges.questions import Question, read_questions, with_baseline
from inarch.evaluate.judges.together import commonest
from inarch.evaluate.protocol import Result
from inarch.io.endpoints import Reply
from inarch.io.files import make_folder
from inarch.io.sampling import SamplingSettings
from inarch.records import Message
from inarch.settings import PathSetting

logger = logging.getLogger(__name__)

QUESTIONS = "alpaca_eval2/alpaca_eval_gpt4_baseline.json"
JUDGE = "gpt-4-1106-preview"
"""Of the published numbers; its maker has retired it."""
TEXT_TOKENS = 16
_PLACE = re.compile(r"\{(instruction|output_1|output_2)\}")
_NAME = re.compile(r"[\W_]*([mM])[\W_]*")
"""An answer's name in a text, quoted or marked in whatever way, and nothing else."""


class AlpacaProtocol(LengthControlSettings):
    """AlpacaEval 2 with its weighted judge."""

    short: ClassVar[str] = "name"

    name: Literal["alpaca_eval2"] = "alpaca_eval2"
    questions: PathSetting | None = None
    """Instructions, with the baseline's answers as ``output``; by default the official file."""
    baseline: PathSetting | None = None
    """Answers to compare with, in place of those beside the instructions."""
    prompt: PathSetting | None = None
    """What the judge is asked; by default the official prompt."""
    order: Literal["official", "both"] = "official"
    """One order per instruction, drawn as officially; or both, and the mean of the two."""
    without_logprobs: Literal["stop", "text"] = "stop"
    """A judge without log-probs stops the run, or the name that it writes counts in full."""
    gamed: PathSetting | None = None
    """``df_gamed.csv`` for length control; by default the fetched one, where it fits."""


class AlpacaBenchmark(Benchmark):
    """See `inarch.evaluate.judges.benchmark`."""

    name: BenchmarkName = "alpaca_eval2"

    def __init__(self, settings: AlpacaProtocol) -> None:
        self.settings = settings
        self.options = JudgeOptions(temperature=1.0, max_tokens=1, top_logprobs=5)
        asked = official.find(QUESTIONS, settings.questions)
        self.inputs = {"questions": asked.sha256}
        questions, answers = read_questions(asked.path, self.name), asked
        if settings.baseline is not None:
            answers = official.find(QUESTIONS, settings.baseline)
            self.inputs["baseline"] = answers.sha256
            questions = _against(questions, answers.path)
        self.questions = _with_one_baseline(questions, answers.path)
        self.baseline = self.questions[0].baseline_model
        self.is_official = answers.is_official
        self.prompts = read_judge_prompts(self.name, settings.prompt)
        _check_places(self.prompts, settings.prompt)
        self.inputs["prompt"] = self.prompts.digest
        # Not an input: what comes to be fetched later changes no question to a judge.
        self.gamed = _gamed(settings, self.questions, self.baseline)

    @property
    def reads_text(self) -> bool:
        """Return whether the name that the judge writes counts, and not its log-probs."""
        return self.options.top_logprobs is None

    def discrete(self) -> AlpacaBenchmark:
        """Return the same benchmark, where the name that the judge writes counts in full."""
        if self.settings.without_logprobs == "stop":
            raise SettingsError(
                "found no log-probs in the judge's replies, from which alpaca_eval2 reads a chance;"
                " take a judge that gives them, or set protocol.without_logprobs to text: the name"
                " that it writes counts then, under a record of its own"
            )
        other = copy.copy(self)
        other.options = JudgeOptions(temperature=0.0, max_tokens=TEXT_TOKENS)
        return other

    def sampling(self, question: Question) -> SamplingSettings:
        """Return greedy answers of at most 2048 tokens; the benchmark leaves it to each model."""
        return SamplingSettings(temperature=0.0, top_p=1.0, max_new_tokens=2048)

    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        """Return a case per instruction and order; equal answers are a draw without asking."""
        found = []
        for question in self.questions:
            if question.id not in dialogues:
                continue
            [answer] = dialogues[question.id]
            if answer == question.baseline:
                found.append(Case(question.id, "", (), ruling=Ruling(0.5, "equal answers")))
                continue
            first = is_swapped(question.id)
            for model_first in (first, not first) if self.settings.order == "both" else (first,):
                messages = self._messages(question, answer, model_first)
                found.append(Case(question.id, "", messages, model_first))
        return found

    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        """Return the model's chance to win, or 0 or 1 where the text is read."""
        reply = replies[-1]
        logps = read_text(reply.text) if self.reads_text else reply.top_logprobs
        if logps is None:
            return Ruling(math.nan, words=reply.text, failure="the reply holds no log-probs")
        known = dict(logps[: self.options.top_logprobs])
        chance = preference(known.get("m"), known.get("M"), case.model_first is True) - 1
        if not math.isnan(chance):
            label = max("mM", key=lambda name: known.get(name, -math.inf))
            return Ruling(chance, label, reply.text)
        seen = repr(reply.text[:80]) if self.reads_text else ", ".join(map(repr, known))
        what = "the reply is" if self.reads_text else "the first token is likely"
        return Ruling(math.nan, words=reply.text, failure=f"{what} {seen}, and neither m nor M")

    def save(self, path: Path, judged: JudgedModel) -> Path:
        """Write an ``annotations.json``, and the answers into ``model_answer`` beside it.

        Instructions without an answer are in neither.
        """
        file = path.with_name(f"{path.name}.json")
        answers = make_folder(path.parent / FOLDER) / file.name
        write_model_answers(answers, self.name, judged.model, self.questions, judged.dialogues)
        write_annotations(file, annotate(self._annotator(judged), self.questions, judged))
        return file

    def result(self, judged: JudgedModel) -> Result:
        """Return what ``inarch evaluate alpaca`` says of the annotations, with a whole record."""
        found = annotate(self._annotator(judged), self.questions, judged)
        num_valid = sum(not math.isnan(row.preference) for row in found)
        reasons = Counter(ruling.failure for ruling in judged.rulings if ruling.failure)
        if not num_valid:
            why = next(iter(commonest(reasons)), "nothing was judged")
            raise DataError(
                f"{judged.judge} on {judged.model}: found no preference in {len(found)} judgments;"
                f" the commonest reason: {why}"
            )
        rows = judged_rows(found, [f"{judged.model} row {at}" for at in range(len(found))])
        gamed = self.gamed
        if gamed is not None and num_valid < NUM_FOLDS:
            logger.warning("length control needs %d preferences: left out", NUM_FOLDS)
            gamed = None
        scored = score_judged(rows, self.settings, gamed.path if gamed else None)
        lengths = [len(judged.dialogues[question.id][0]) for question in self._answered(judged)]
        about = {
            "inarch": __version__,
            "judge_names": sorted(judge_names(judged)),
            "n_unanswered": len(self.questions) - len(lengths),
            "n_equal": sum(case.ruling is not None for case in judged.cases),
            "failures": commonest(reasons),
            "digests": dict(self.inputs) | ({"gamed": gamed.sha256} if gamed else {}),
        }
        return scored.result._replace(
            protocol=scored.result.protocol.model_copy(update=self._record()),
            summary=scored.numbers() | {"avg_length": int(sum(lengths) / len(lengths))},
            made=about | dict(scored.result.made),
        )

    def _answered(self, judged: JudgedModel) -> list[Question]:
        return [question for question in self.questions if question.id in judged.dialogues]

    def _record(self) -> dict[str, str]:
        """Return what must agree, but for the annotator's name."""
        options = self.options
        parse = "the text m or M" if self.reads_text else f"{options.top_logprobs} log-probs"
        asked = f"temperature {options.temperature:g}, {options.max_tokens} tokens"
        answers = _digest(question.baseline or "" for question in self.questions)
        return {
            "baseline": self.baseline if self.is_official else f"{self.baseline} {answers}",
            "data": f"{len(self.questions)} instructions "
            + _digest(question.id for question in self.questions),
            "prompts": self.prompts.digest,
            "judging": f"{asked}, {parse}, order: {self.settings.order}",
        }

    def _annotator(self, judged: JudgedModel) -> str:
        """Return the published annotator's name for itself alone; others have one of their own."""
        own = ["text" if self.reads_text else "weighted"]
        own += ["both orders"] if self.settings.order == "both" else []
        own += [] if self.prompts.is_official else [f"prompt {self.prompts.digest[:8]}"]
        names = judge_names(judged) | {judged.judge}
        if own == ["weighted"] and names == {JUDGE}:
            return ANNOTATOR
        return f"{judged.judge} ({', '.join(own)})"

    def _messages(self, question: Question, answer: str, model_first: bool) -> tuple[Message, ...]:
        """Return what the judge is asked; an instruction or answer is never filled in itself."""
        baseline = question.baseline or ""
        first, second = (answer, baseline) if model_first else (baseline, answer)
        texts = {"instruction": question.turns[0], "output_1": first, "output_2": second}
        prompt = self.prompts.of[""]
        return tuple(
            Message(role, _PLACE.sub(lambda place: texts[place[1]], text))
            for role, text in (("system", prompt.system), ("user", prompt.user))
            if text
        )


def read_text(text: str) -> tuple[tuple[str, float], ...]:
    """Return what a reply that is an answer's name and nothing else says, as log-probs.

    Thoughts in front of it are left out.
    """
    found = _NAME.fullmatch(text.rpartition("</think>")[2])
    return ((found[1], 0.0),) if found else ()


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _against(questions: Sequence[Question], path: Path) -> tuple[Question, ...]:
    """Return questions with a user's own baseline."""
    model = answering_model(path, "alpaca_eval2") or path.stem
    return with_baseline(questions, model, read_model_answers(path, "alpaca_eval2"))


def _with_one_baseline(questions: Sequence[Question], path: Path) -> tuple[Question, ...]:
    """Return questions whose baseline has a name: by default that of the file with its answers."""
    for question in questions:
        if question.baseline is None:
            raise DataError(
                f"{path}: found no answer (output) to {question.id!r:.80}, expected the baseline's;"
                " add it, or set protocol.baseline to a file with answers to all instructions"
            )
    names = {question.baseline_model or path.stem: None for question in questions}
    if len(names) > 1:
        raise DataError(f"{path}: found answers of {', '.join(names)}; expected one baseline")
    [name] = names
    return tuple(question._replace(baseline_model=name) for question in questions)


def _check_places(prompts: JudgePrompts, path: Path | None) -> None:
    text = "".join(prompts.of[""])
    missing = [
        name for name in ("instruction", "output_1", "output_2") if f"{{{name}}}" not in text
    ]
    if missing:
        raise DataError(
            f"{path}: found no {{{'}, {'.join(missing)}}}; expected these places: {{instruction}},"
            " {output_1} for the answer called m, {output_2} for the one called M"
        )


def _gamed(
    settings: AlpacaProtocol, questions: Sequence[Question], baseline: str
) -> official.Found | None:
    """Return what length control needs, checked before anything is paid for."""
    asked = sorted({"gamed", "c", "align", "solver"} & settings.model_fields_set)
    if any(index_of(question.id) < 0 for question in questions):
        if asked:
            raise SettingsError(
                f"found protocol.{asked[0]}, which is for length control, and instructions that are"
                " not AlpacaEval's, whose difficulty is not known; leave it out"
            )
        logger.info("no length control: it knows the difficulty of AlpacaEval's instructions only")
        return None
    if not asked and not (baseline == BASELINE and official.is_fetched(GAMED)):
        why = f"{GAMED} is not fetched" if baseline == BASELINE else f"it knows {BASELINE} only"
        logger.info("no length control: %s", why)
        return None
    found = official.find(GAMED, settings.gamed)
    known = read_gamed(found.path).difficulty_of
    by_place = settings.align == "position"
    for place, question in enumerate(questions):
        if (place if by_place else index_of(question.id)) not in known:
            raise DataError(
                f"{found.path}: found no row of the instruction {question.id!r:.80}; expected the"
                " official df_gamed.csv, or one with a row of each instruction"
            )
    if baseline != BASELINE:
        logger.warning("length control knows %s, and is told of %s", BASELINE, baseline)
    return found

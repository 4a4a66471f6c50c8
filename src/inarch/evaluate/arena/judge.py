"""Arena-Hard, judged live: both games of each question, so that either answer is shown first once.

Source:  lmarena/arena-hard-auto: gen_judgment.py and config/judge_config.yaml at 0489bf3 for v0.1,
         gen_judgment.py, utils/judge_utils.py and config/arena-hard-v2.0.yaml at 196f6b8 for v2.
Differs: a request that fails for good is a game without a verdict, where v0.1 goes on with the text
         ``$ERROR$`` for the judge's; a question that the baseline has not answered is left out and
         counted, where the official code stops. Rows of v0.1 name the baseline, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch import __version__
from inarch.errors import DataError
from inarch.evaluate.arena.baselines import open_baselines
from inarch.evaluate.arena.battles import ArenaSettings, results
from inarch.evaluate.arena.files import (
    Judgment,
    from_judgments,
    style_of,
    write_judgments,
)
from inarch.evaluate.arena.prompts import check_prompts
from inarch.evaluate.arena.settings import (
    ArenaV01Protocol,
    ArenaV2Protocol,
    given_baselines,
    questions_of,
)
from inarch.evaluate.arena.style import Style, StyleScores, score_with_style
from inarch.evaluate.arena.verdicts import RULES, Version, has_label, pair_outcomes
from inarch.evaluate.judges.answer_style import style_counts
from inarch.evaluate.judges.answers import FOLDER, write_model_answers
from inarch.evaluate.judges.benchmark import (
    Benchmark,
    Case,
    Dialogues,
    JudgedModel,
    JudgeOptions,
    Ruling,
    described,
)
from inarch.evaluate.judges.official import find
from inarch.evaluate.judges.prompts import read_judge_prompts
from inarch.evaluate.judges.questions import Question
from inarch.evaluate.protocol import ProtocolRecord, Result
from inarch.io.endpoints import Reply
from inarch.io.files import make_folder
from inarch.io.progress import track
from inarch.io.sampling import SamplingSettings
from inarch.records import Message

GO_ON = "continue your judgment and finish by outputting a final verdict label"
"""What v0.1 asks a judge that gave no label."""
_SHOWN = 200
"""Characters of a judge's words that a message repeats."""


class ArenaBenchmark(Benchmark):
    """Either version, see `inarch.evaluate.judges.benchmark`."""

    def __init__(self, settings: ArenaV01Protocol | ArenaV2Protocol) -> None:
        is_old = isinstance(settings, ArenaV01Protocol)
        self.name = settings.name
        self.version: Version = "v0.1" if is_old else "v2"
        self.options = JudgeOptions(temperature=0.0, max_tokens=4096 if is_old else 16000)
        self.num_asks = RULES[self.version].attempts
        asked = find(f"{self.name}/question.jsonl", settings.questions)
        self.questions = questions_of(asked.path, settings)
        self._num_all = len(self.questions)
        prompts = read_judge_prompts(self.name, settings.prompts)
        given = settings.prompts.name if settings.prompts else ""
        self._prompts = check_prompts(prompts, self.version, given or "the official file")
        self._baselines = open_baselines(self.version, self.questions, given_baselines(settings))
        for category in self._baselines.of:
            self._prompts.messages(category, "", "", "")
        self._names = {
            "questions": "question.jsonl" if asked.is_official else asked.path.name,
            "prompts": "official" if prompts.is_official else given,
        }
        self._digests = {"questions": asked.sha256, "prompts": prompts.digest}

    @property
    def inputs(self) -> Mapping[str, str]:  # type: ignore[override]
        """Return digests of questions, prompts and the baselines' answers."""
        return self._digests | self._baselines.digests()

    @property
    def awaits(self) -> tuple[str, ...]:
        """Return the baselines that are models of the run."""
        return self._baselines.awaited()

    def meet(self, answered: Mapping[str, Dialogues]) -> None:
        """Take the answers of the baselines that are models of the run."""
        self._baselines = self._baselines.meet(answered)

    def sampling(self, question: Question) -> SamplingSettings:
        """Return greedy answers of at most 4096 tokens."""
        return SamplingSettings(temperature=0.0, top_p=1.0, max_new_tokens=4096)

    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        """Return both games of each question that the model and the baseline have answered.

        A model that is the baseline plays none.
        """
        if model in self._baselines.models():
            return []
        found = []
        for question in self.questions:
            other, own = self._baselines.answer(question), dialogues.get(question.id)
            if other is None or own is None:
                continue
            for first, pair in ((False, (other, own[0])), (True, (own[0], other))):
                asked = self._prompts.messages(question.category, question.turns[0], *pair)
                found.append(Case(question.id, "", asked, model_first=first))
        return found

    def follow_up(self, case: Case, replies: Sequence[Reply]) -> tuple[Message, ...] | None:
        """Return v0.1's request to go on, where nothing in the replies is a label."""
        if len(replies) >= self.num_asks or has_label(self._words(replies)):
            return None
        more: list[Message] = []
        for reply in replies:
            more += [Message("assistant", reply.text), Message("user", GO_ON)]
        return (*case.messages, *more)

    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        """Return a game's outcome for the model: 1 it wins, 0 it loses, 0.5 a tie."""
        words, rules = self._words(replies), RULES[self.version]
        label = rules.parse(words) or ""
        outcome = rules.outcomes.get(label)
        if outcome is not None:
            won = outcome.score if case.model_first else 1 - outcome.score
            return Ruling(won, label, words)
        if label:
            return Ruling(math.nan, label, words, f"the label {label}, which is none")
        if has_label(words):
            return Ruling(math.nan, "", words, "labels that differ")
        cut = replies[-1].finish_reason == "length"
        failure = "the judgment is cut before a label" if cut else "no label in the judgment"
        return Ruling(math.nan, "", words, failure)

    def save(self, path: Path, judged: JudgedModel) -> Path:
        """Write the judgments, and all answers that they are about into ``model_answer`` beside.

        ``inarch evaluate arena --battles FILE --style .../model_answer`` reads both.
        """
        file = path.with_name(f"{path.name}.jsonl")
        write_judgments(file, self.judgments(judged), self.version)
        folder = path.parent / FOLDER
        make_folder(folder)
        answers: dict[str, tuple[str, Dialogues]] = {file.name: (judged.model, judged.dialogues)}
        for model in self._baselines.models():
            own: Dialogues = {
                question.id: (answer,)
                for question in self.questions
                if self._baselines.of[question.category].model == model
                and (answer := self._baselines.answer(question)) is not None
            }
            answers.setdefault(f"{model.replace('/', '-')}.jsonl", (model, own))
        for name, (model, said) in answers.items():
            write_model_answers(folder / name, self.name, model, self.questions, said)
        return file

    def judgments(self, judged: JudgedModel) -> list[Judgment]:
        """Return a model's rulings as official judgments, both games of a question in one."""
        category_of = {question.id: question.category for question in self.questions}
        replies = judged.replies or ((),) * len(judged.cases)
        games = list(zip(judged.cases, judged.rulings, replies, strict=True))
        found = []
        for (case, one, said), (other, two, also) in zip(games[::2], games[1::2], strict=True):
            category = category_of[case.question]
            found.append(
                Judgment(
                    prompt=case.question,
                    model=judged.model,
                    labels=(one.label or None, two.label or None),
                    words=(one.words or self._words(said), two.words or self._words(also)),
                    category=category,
                    judge=judged.judge,
                    baseline=self._baselines.of[category].model,
                    asked=(case.messages, other.messages),
                )
            )
        return found

    def result(self, judged: JudgedModel) -> Result:
        """Return the score in percent, strong verdicts three times.

        Raises:
            DataError: No verdict counts, or the model is the baseline.
        """
        rows, rules = self.judgments(judged), RULES[self.version]
        if judged.model in self._baselines.models():
            raise DataError(f"{judged.model} is the baseline, which has 50 by definition")
        if not any(pair_outcomes(*row.labels, rules)[0] for row in rows):
            raise DataError(_no_verdict(judged))
        failures = Counter(ruling.failure for ruling in judged.rulings if ruling.failure)
        made: dict[str, Any] = {
            "inarch": __version__,
            "n_left_out": len(self.questions) - len(rows),
            "failures": dict(failures.most_common()),
        }
        [found] = results(from_judgments(rows, self.version), made=made)
        own = {question: len(turns[0]) for question, turns in judged.dialogues.items()}
        other = {q.id: len(self._baselines.answer(q) or "") for q in self.questions}
        scores = tuple(
            row._replace(length=own[row.prompt], baseline_length=other[row.prompt])
            for row in found.scores
        )
        return found._replace(protocol=self._record(found.protocol), scores=scores)

    def leaderboard(
        self, judged: Sequence[JudgedModel], settings: ArenaSettings
    ) -> dict[str, StyleScores]:
        """Return, by category, all models' scores by one judge with style held equal.

        What style is worth is learnt from all models together, so a score depends on which there
        are. Categories are apart, as each has a baseline of its own.

        Args:
            judged: The models, best without constant answers.
            settings: What is controlled.

        Raises:
            DataError: They are of several judges, no verdict counts, or nothing is controlled.
        """
        styles: dict[tuple[str, str], Style] = {}
        for question in self.questions:
            answers = {one.model: one.dialogues.get(question.id, ()) for one in judged}
            other = self._baselines.answer(question)
            answers[self._baselines.of[question.category].model] = () if other is None else (other,)
            for model, own in answers.items():
                for answer in own:
                    styles[question.id, model] = style_of(style_counts(answer))
        rows = [row for one in judged for row in self.judgments(one)]
        battles = from_judgments(rows, self.version)
        found = {}
        categories = dict.fromkeys(battles.categories)
        with track("style held equal", len(categories), "categories") as advance:
            for category in categories:
                found[category] = score_with_style(battles.of_category(category), styles, settings)
                advance(1)
        return found

    def together(self, judged: Sequence[JudgedModel]) -> Mapping[str, Any]:
        """Return the scores with style held equal, and what style is worth, by category."""
        found = self.leaderboard(judged, ArenaSettings(control="style"))
        told = {
            category or "all": {
                "scores": {model: score._asdict() for model, score in one.scores.items()},
                "coefficients": dict(one.coefficients),
            }
            for category, one in found.items()
        }
        return {"style_controlled": told}

    def _words(self, replies: Sequence[Reply]) -> str:
        """Return all that a judge wrote in a game, as official files have it."""
        line = "\n" if self.version == "v0.1" else ""
        return "".join(f"{line}{reply.text}" for reply in replies)

    def _record(self, known: ProtocolRecord) -> ProtocolRecord:
        told = described(self._names, self._digests, len(self.questions), self._num_all)
        parse = "all labels agree" if self.version == "v0.1" else "the last label"
        asks = ", asked on once where there is none" * (self.num_asks > 1)
        judging = (
            f"two games, temperature {self.options.temperature:g},"
            f" {self.options.max_tokens} tokens, {parse}{asks}"
        )
        data = ", ".join([told["questions"], *self._baselines.described()])
        return known.model_copy(
            update={"data": data, "prompts": told["prompts"], "judging": judging}
        )


def _no_verdict(judged: JudgedModel) -> str:
    """Return why a model has no score."""
    if not judged.cases:
        return (
            f"{judged.model}: found no question that it and the baseline have answered; expected"
            " answers of both to the same questions"
        )
    failures = Counter(ruling.failure for ruling in judged.rulings if ruling.failure)
    words = next((ruling.words for ruling in judged.rulings if ruling.failure and ruling.words), "")
    shown = " ".join(words.split())[-_SHOWN:]
    said = f"; one ends with {shown!r}" if shown else ""
    [(reason, number)] = failures.most_common(1)
    return (
        f"found no verdict that counts in {len(judged.cases)} games, most often:"
        f" {reason} ({number}){said}; expected a label such as [[A>B]]: take a judge that does what"
        " it is asked"
    )

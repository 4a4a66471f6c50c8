"""MT-Bench in pairs, judged live: each turn beside a baseline's, in both orders.

Source:  lm-sys/FastChat at 0e6d3e4, fastchat/llm_judge, ``gen_judgment.py``, mode
         pairwise-baseline.
Differs: the baseline's answers come from a file or from a model of the run, and none is taken for
         granted, where FastChat takes gpt-3.5-turbo's. A question that one of the two has not
         answered in full is not judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch import __version__
from inarch.errors import DataError
from inarch.evaluate.judges.answers import FOLDER, NO_ANSWER, write_model_answers
from inarch.evaluate.judges.baseline import BaselineSettings, open_baseline
from inarch.evaluate.judges.benchmark import (
    Benchmark,
    Case,
    Dialogues,
    JudgedModel,
    JudgeOptions,
    Ruling,
)
from inarch.evaluate.judges.questions import Question
from inarch.evaluate.mt_bench.pairwise import ERROR, Pair, results
from inarch.evaluate.mt_bench.prompts import fill, prompt_name
from inarch.evaluate.mt_bench.ratings import category_of
from inarch.evaluate.mt_bench.settings import MtBenchProtocol, open_files, sampling_of
from inarch.evaluate.protocol import DIGEST_DIGITS, Result
from inarch.io.endpoints import Reply
from inarch.io.files import make_folder, write_jsonl
from inarch.io.sampling import SamplingSettings

_VERDICTS = {"[[A]]": 1.0, "[[B]]": 0.0, "[[C]]": 0.5}
"""What the answer that is shown first gets; the first of these that a judgment has anywhere."""

Game = tuple[Case, Ruling]


class PairwiseBenchmark(Benchmark):
    """Each turn beside a baseline's, see `inarch.evaluate.judges.benchmark`."""

    name = "mt_bench"
    options = JudgeOptions(temperature=0.0, max_tokens=2048)

    def __init__(self, settings: MtBenchProtocol, baseline: BaselineSettings) -> None:
        self._files = open_files(settings)
        self.questions = self._files.questions
        self.inputs = dict(self._files.digests)
        self._base = open_baseline(self.name, self.questions, baseline.answers, baseline.name)
        self.baseline = self._base.model
        if self._base.answers is not None:
            self.inputs["baseline"] = self._base.digest

    @property
    def awaits(self) -> tuple[str, ...]:
        """Return the baseline, where it is a model of the run."""
        return (self.baseline,) if self._base.answers is None else ()

    def meet(self, answered: Mapping[str, Dialogues]) -> None:
        """Take the answers of a baseline that is a model of the run."""
        self._base = self._base.meet(answered)

    def sampling(self, question: Question) -> SamplingSettings:
        """Return answers of at most 1024 tokens at the category's temperature."""
        return sampling_of(question)

    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        """Return both games of each turn that the model and the baseline have answered.

        The baseline itself plays none.
        """
        other = self._base.answers or {}
        found = []
        for question in self.questions:
            if model == self.baseline or question.id not in dialogues.keys() & other.keys():
                continue
            own, base = dialogues[question.id], other[question.id]
            for turn in range(1, len(question.turns) + 1):
                prompt = self._files.prompts[prompt_name(question, turn, "pairwise")]
                for first, (a, b) in ((True, (own, base)), (False, (base, own))):
                    asked = fill(prompt, question, turn, {"answer_a": a, "answer_b": b})
                    found.append(Case(question.id, f"turn {turn}", asked, first))
        return found

    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        """Return a game's outcome for the model: 1 it wins, 0 it loses, 0.5 a tie."""
        last = replies[-1]
        for verdict, first in _VERDICTS.items():
            if verdict in last.text:
                return Ruling(first if case.model_first else 1 - first, verdict, last.text)
        cut = last.finish_reason == "length"
        failure = "the judgment is cut before a verdict" if cut else "no verdict in the judgment"
        return Ruling(math.nan, words=last.text, failure=failure)

    def save(self, path: Path, judged: JudgedModel) -> Path:
        """Write FastChat's judgments, and both models' answers into ``model_answer`` beside."""
        file = path.with_name(f"{path.name}.jsonl")
        rows = [_row(pair, games) for pair, games in self._pairs(judged)]
        write_jsonl(file, rows)
        folder = path.parent / FOLDER
        make_folder(folder)
        base = f"{self.baseline.replace('/', '-')}.jsonl"
        said = {base: (self.baseline, self._base.answers or {})}
        said[file.name] = (judged.model, judged.dialogues)
        for name, (model, answers) in said.items():
            write_model_answers(folder / name, self.name, model, self.questions, answers)
        return file

    def result(self, judged: JudgedModel) -> Result:
        """Return the share of turns won in both orders, in percent, a tie half.

        Raises:
            DataError: No turn has two verdicts, or the model is the baseline.
        """
        if judged.model == self.baseline:
            raise DataError(f"{judged.model} is the baseline, which has 50 by definition")
        pairs = [pair for pair, _ in self._pairs(judged)]
        failures = Counter(ruling.failure for ruling in judged.rulings if ruling.failure)
        if not any(pair.is_valid for pair in pairs):
            why = failures.most_common(1)[0][0] if failures else "no question has both answers"
            raise DataError(
                f"{judged.model}: none of {len(pairs)} turns has verdicts of {judged.judge} in both"
                f" orders, mostly for: {why}; expected [[A]], [[B]] or [[C]]: take a judge that"
                " does what it is asked"
            )
        made: dict[str, Any] = {
            "inarch": __version__,
            "n_unanswered": len(self.questions) - len({pair.question for pair in pairs}),
            "failures": dict(failures.most_common()),
        }
        [found] = results(pairs, self.baseline, made=made)
        judging = (
            f"in pairs, both orders, temperature {self.options.temperature:g},"
            f" {self.options.max_tokens} tokens, the first of [[A]], [[B]], [[C]] that is there"
        )
        record = self._files.record(found.protocol, len(self.questions), judging)
        data = f"{record.data}, {self.baseline}'s answers {self._base.digest[:DIGEST_DIGITS]}"
        return found._replace(protocol=record.model_copy(update={"data": data}))

    def _pairs(self, judged: JudgedModel) -> Iterator[tuple[Pair, tuple[Game, Game]]]:
        """Yield each turn's games as FastChat's pair, the model before the baseline."""
        by_id = {question.id: question for question in self.questions}
        games = list(zip(judged.cases, judged.rulings, strict=True))
        for one, other in zip(games[::2], games[1::2], strict=True):
            question, turn = by_id[one[0].question], int(one[0].part.removeprefix("turn "))
            pair = Pair(
                int(question.id),
                question.category or category_of(int(question.id)),
                turn,
                (judged.model, self.baseline),
                (_winner(one[1]), _winner(other[1])),
                judged.judge,
                prompt_name(question, turn, "pairwise"),
            )
            yield pair, (one, other)


def _winner(ruling: Ruling) -> str:
    """Return who wins a game, the model being the first of its pair."""
    return {1.0: "model_1", 0.0: "model_2", 0.5: "tie"}.get(ruling.value, ERROR)


def _row(pair: Pair, games: tuple[Game, Game]) -> dict[str, Any]:
    """Return a row of FastChat's ``gpt-4_pair.jsonl``."""
    row: dict[str, Any] = {
        "question_id": pair.question,
        "model_1": pair.models[0],
        "model_2": pair.models[1],
        "g1_winner": pair.winners[0],
        "g2_winner": pair.winners[1],
        "judge": [pair.judge, pair.prompt],
    }
    for name, (case, ruling) in zip(("g1", "g2"), games, strict=True):
        row[f"{name}_user_prompt"] = case.messages[-1].content
        row[f"{name}_judgment"] = ruling.words or NO_ANSWER
    row["turn"] = pair.turn
    is_own = pair.category != category_of(pair.question)
    return row | ({"category": pair.category} if is_own else {})

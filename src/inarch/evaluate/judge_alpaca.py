"""AlpacaEval 2, judged live: one token per instruction, read from its log-probs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from inarch.evaluate.alpaca import is_swapped, preference
from inarch.evaluate.benchmark_questions import Question
from inarch.evaluate.judging import Benchmark, Case, Dialogues, JudgedModel, JudgeOptions, Ruling
from inarch.evaluate.protocol import PromptScore, ProtocolRecord, Result
from inarch.io.endpoints import Reply
from inarch.io.sampling import SamplingSettings
from inarch.records import Message
from inarch.settings import PathSetting, Settings


class AlpacaProtocol(Settings):
    """AlpacaEval 2 with its weighted judge."""

    short: ClassVar[str] = "name"

    name: Literal["alpaca_eval2"] = "alpaca_eval2"
    questions: PathSetting | None = None
    """The instructions with the baseline's answers; by default the official file."""
    prompt: PathSetting | None = None
    """What the judge is asked; by default the official prompt."""
    order: Literal["official", "both"] = "official"
    """One order per instruction, drawn as officially; or both, and the mean of the two."""


class AlpacaBenchmark(Benchmark):
    """See `inarch.evaluate.judging`."""

    name = "alpaca_eval2"
    options = JudgeOptions(temperature=1.0, max_tokens=1, top_logprobs=5)

    def __init__(self, settings: AlpacaProtocol) -> None:
        self.settings = settings
        if settings.questions is None:
            raise NotImplementedError
        rows = json.loads(settings.questions.read_text(encoding="utf-8"))
        self.questions = tuple(
            Question(
                row["instruction"],
                row["dataset"],
                (row["instruction"],),
                row["output"],
                row["generator"],
            )
            for row in rows
        )

    def sampling(self, question: Question) -> SamplingSettings:
        """Return greedy answers of at most 2048 tokens."""
        return SamplingSettings(temperature=0.0, top_p=1.0, max_new_tokens=2048)

    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        """Return one case per instruction and order."""
        found = []
        for question in self.questions:
            if question.id not in dialogues:
                continue
            swapped = is_swapped(question.id)
            [answer] = dialogues[question.id]
            pair = (answer, question.baseline) if swapped else (question.baseline, answer)
            text = f"{question.turns[0]}\n\nm: {pair[0]}\n\nM: {pair[1]}"
            found.append(Case(question.id, "", (Message("user", text),), swapped))
        return found

    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        """Return the model's chance to win."""
        logps = dict(replies[-1].top_logprobs or ())
        chance = preference(logps.get("m"), logps.get("M"), case.model_first is True) - 1
        failure = "neither m nor M is among the first tokens" if math.isnan(chance) else ""
        return Ruling(chance, words=replies[-1].text, failure=failure)

    def save(self, path: Path, judged: JudgedModel) -> Path:
        """Write an ``annotations.json``."""
        raise NotImplementedError

    def result(self, judged: JudgedModel) -> Result:
        """Return the win rate per instruction."""
        record = ProtocolRecord(
            benchmark="alpaca_eval2",
            version="2",
            score="chance to win against the baseline, in percent, lengths not controlled",
            judge=judged.judge,
        )
        scores = tuple(
            PromptScore(case.question, "", 100 * ruling.value)
            for case, ruling in zip(judged.cases, judged.rulings, strict=True)
            if not math.isnan(ruling.value)
        )
        return Result(record, judged.model, scores)

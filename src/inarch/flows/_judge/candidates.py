"""A candidate's answers to a benchmark's questions, turn by turn."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from inarch.evaluate.benchmark_questions import Question
from inarch.evaluate.judging import Benchmark
from inarch.flows._judge.settings import CandidateSettings, JudgeRun
from inarch.io.answers import AnswererSettings, answers
from inarch.io.sampling import SamplingSettings
from inarch.records import Message

Chat = tuple[Message, ...]


def answer(
    candidate: CandidateSettings, benchmark: Benchmark, settings: JudgeRun, folder: Path
) -> dict[str, tuple[str, ...]]:
    """Return a candidate's answers by question, of those that it has answered in full."""
    found: dict[str, tuple[str, ...]] = {question.id: () for question in benchmark.questions}
    for turn in range(max(len(question.turns) for question in benchmark.questions)):
        groups: dict[str, list[Question]] = defaultdict(list)
        samplings: dict[str, SamplingSettings] = {}
        for question in benchmark.questions:
            if turn < len(question.turns) and len(found.get(question.id, ())) == turn:
                sampling = settings.sampling or benchmark.sampling(question)
                samplings[sampling.model_dump_json()] = sampling
                groups[sampling.model_dump_json()].append(question)
        for number, (key, questions) in enumerate(groups.items(), start=1):
            chats = [chat(question, found[question.id]) for question in questions]
            place = folder / f"turn-{turn + 1}-{number}"
            said = answers(_answerer(candidate), chats, samplings[key], 1, place)
            for question, (one,) in zip(questions, said, strict=True):
                if one.text is None:
                    del found[question.id]
                else:
                    found[question.id] += (one.text,)
    return found


def chat(question: Question, answered: tuple[str, ...]) -> Chat:
    """Return a dialogue up to the first turn that is not answered."""
    turns: list[Message] = []
    for asked, said in zip(question.turns, answered, strict=False):
        turns += [Message("user", asked), Message("assistant", said)]
    return (*turns, Message("user", question.turns[len(answered)]))


def _answerer(candidate: CandidateSettings) -> AnswererSettings:
    return AnswererSettings.model_validate(
        candidate.model_dump(exclude={"answers"}, exclude_unset=True)
    )

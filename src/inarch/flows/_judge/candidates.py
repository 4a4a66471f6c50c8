"""A candidate's answers to a benchmark's questions, turn by turn."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inarch.errors import DataError
from inarch.evaluate.judges.answers import NO_ANSWER, answering_model, read_model_answers
from inarch.evaluate.judges.benchmark import Benchmark, Dialogues
from inarch.evaluate.judges.questions import Question
from inarch.evaluate.judges.together import commonest
from inarch.flows._judge.settings import CandidateSettings, JudgeRun
from inarch.io.answers import REPLIES, Answer, Answerer, AnswererSettings, answers
from inarch.io.files import digest_file
from inarch.io.sampling import SamplingSettings
from inarch.records import Message
from inarch.settings import to_dict

logger = logging.getLogger(__name__)

Chat = tuple[Message, ...]


class Answered(NamedTuple):
    """What a candidate answered."""

    dialogues: Dialogues
    facts: Mapping[str, object]
    """How it came about: the file with its digest, or how answers were drawn, by the questions'
    category; ``n_unanswered`` questions, ``n_cut`` answers, the commonest ``failures``."""


def answer(
    candidate: CandidateSettings, benchmark: Benchmark, settings: JudgeRun, folder: Path
) -> Answered:
    """Return a candidate's answers, from its file, or asked for and kept in a folder.

    Raises:
        SettingsError: The folder is of other settings, or an endpoint refuses requests.
        DataError: The file is something else, or a model's chat template opens no answer.
        WeightsError: There is no such model.
    """
    if candidate.answers is not None:
        return read_answers(candidate.answers, benchmark)
    samplings = {q.id: settings.sampling or benchmark.sampling(q) for q in benchmark.questions}
    said = _ask(candidate, benchmark.questions, samplings, folder)
    all_said = [one for of_question in said.values() for one in of_question]
    failures = Counter(one.failure for one in all_said if one.text is None)
    num_cut = sum(one.cut for one in all_said)
    if num_cut:
        logger.warning(
            "%s: %d of %d answers are cut at their full length, which the benchmark or the sampling"
            " sets; they are judged as they are",
            *(candidate.name, num_cut, len(all_said)),
        )
    dialogues = {
        question.id: tuple(one.text for one in said[question.id] if one.text is not None)
        for question in benchmark.questions
        if all(one.text is not None for one in said[question.id])
    }
    facts: dict[str, object] = {
        "n_unanswered": len(benchmark.questions) - len(dialogues),
        "n_cut": num_cut,
        "failures": commonest(failures),
        "sampling": _told(benchmark.questions, samplings),
    }
    return Answered(dialogues, facts)


def chat(question: Question, answered: Sequence[str]) -> Chat:
    """Return a dialogue up to the first turn that is not answered."""
    turns: list[Message] = []
    for asked, said in zip(question.turns, answered, strict=False):
        turns += [Message("user", asked), Message("assistant", said)]
    return (*turns, Message("user", question.turns[len(answered)]))


def _ask(
    candidate: CandidateSettings,
    questions: Sequence[Question],
    samplings: Mapping[str, SamplingSettings],
    folder: Path,
) -> dict[str, list[Answer]]:
    """Return the answers by question; behind one that is missing there are none.

    A turn's questions that are answered in one way have a folder, and all share a loaded model, or
    the replies of an endpoint: without these folders only what failed is asked again.
    """
    settings = AnswererSettings.model_validate(
        candidate.model_dump(exclude={"answers"}, exclude_unset=True)
    )
    answerer = Answerer(settings, folder / REPLIES)
    found: dict[str, list[Answer]] = {question.id: [] for question in questions}
    for turn in range(max(len(question.turns) for question in questions)):
        groups: dict[SamplingSettings, list[Question]] = defaultdict(list)
        for question in questions:
            before = [one.text for one in found[question.id]]
            if turn < len(question.turns) and None not in before:
                groups[samplings[question.id]].append(question)
        for number, (sampling, group) in enumerate(groups.items(), start=1):
            chats = [chat(q, [one.text or "" for one in found[q.id]]) for q in group]
            place = folder / f"turn-{turn + 1}-{number}"
            said = answers(settings, chats, sampling, 1, place, answerer)
            for question, (one,) in zip(group, said, strict=True):
                found[question.id].append(one)
    return found


def read_answers(path: Path, benchmark: Benchmark) -> Answered:
    """Return the answers of a file, as far as they answer a question in full.

    Raises:
        DataError: The file is something else, or answers no question in full.
    """
    said = read_model_answers(path, benchmark.name)
    dialogues = {
        question.id: said[question.id][: len(question.turns)]
        for question in benchmark.questions
        if len(said.get(question.id, ())) >= len(question.turns)
        and NO_ANSWER not in said[question.id]
    }
    if not dialogues:
        raise DataError(
            f"{path}: found {len(said)} answers, none of them a whole one to any of the"
            f" {len(benchmark.questions)} questions; is it a file of another benchmark?"
        )
    facts: dict[str, object] = {
        "file": f"{path.name} {digest_file(path)}",
        "model": answering_model(path, benchmark.name),
        "n_unanswered": len(benchmark.questions) - len(dialogues),
    }
    return Answered(dialogues, facts)


def _told(
    questions: Sequence[Question], samplings: Mapping[str, SamplingSettings]
) -> list[dict[str, object]]:
    """Return each way in which answers are drawn, with the categories for which it is."""
    categories: dict[SamplingSettings, dict[str, None]] = defaultdict(dict)
    for question in questions:
        categories[samplings[question.id]][question.category] = None
    return [
        {"categories": list(names)}
        | {name: value for name, value in to_dict(sampling).items() if name != "batch_size"}
        for sampling, names in categories.items()
    ]

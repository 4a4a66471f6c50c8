"""Scorers behind one function, and their scores kept on disk: asked once, whatever happens after.

What a scorer says of a prompt's answers is one line of a journal under a digest of the prompt, the
answers and the reference. A killed run goes on behind its last line; runs may share the folder.
"""

import hashlib
import importlib
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from inarch.align._prompts import PromptRow
from inarch.errors import DataError, InarchError, SettingsError
from inarch.flows._scoring.checks import checker, reference_of
from inarch.flows._scoring.question import NoScore, Question, Result, Scorer, Scores
from inarch.flows._scoring.rating import judge
from inarch.flows._scoring.reward_model import check_reward_model, reward_model
from inarch.flows._scoring.settings import ScorerSettings
from inarch.io.endpoints import identity
from inarch.io.files import append_metrics, digest_file, read_metrics
from inarch.io.models import digest_model
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.settings import to_dict

logger = logging.getLogger(__name__)


def scores_of(
    questions: Sequence[Question], settings: ScorerSettings, folder: Path, device: str
) -> list[list[Result]]:
    """Return the score of every answer, or why it has none, from the folder as far as possible.

    Args:
        questions: Prompts with their answers.
        settings: The scorer, and whether an answer without a score stops the run.
        folder: Of the journal; of one scorer.
        device: Where a reward model runs.

    Raises:
        DataError: An answer has no score and ``on_error`` is ``stop``; it is named. What is scored
            by then is kept.
    """
    with stage(folder, "scores", scorer_key(settings), scorer_inputs(settings)):
        journal = _Journal(folder / "scores.jsonl")
        stops = settings.on_error == "stop"
        found = [journal.get(question, retry=stops) for question in questions]
        open_ = [i for i, known in enumerate(found) if any(one is None for one in known)]
        if open_:
            asked = [_rest(questions[i], found[i]) for i in open_]
            total = sum(len(question.answers) for question in asked)
            scorer = make_scorer(settings, folder, device)
            with (
                track(f"score by {settings.kind}", total, "answers") as advance,
                closing(scorer(asked)) as outcomes,  # ends what is under way when one stops the run
            ):
                for number, results in outcomes:
                    i = open_[number]
                    rest = iter(map(_checked, results))
                    found[i] = [next(rest) if one is None else one for one in found[i]]
                    journal.add(questions[i], found[i])
                    if stops:
                        _stop_at_failures(questions[i], found[i], folder)
                    advance(len(results))
    return [[one for one in known if one is not None] for known in found]


def scorer_key(settings: ScorerSettings) -> dict[str, Any]:
    """Return the settings that decide the scores."""
    own: dict[str, Any] = {"kind": settings.kind}
    if settings.callable is not None:
        own["callable"] = settings.callable
    if settings.reward_model is not None:
        own |= {
            name: getattr(settings.reward_model, name) for name in ("path", "dtype", "max_tokens")
        }
    if settings.judge is not None:
        own |= to_dict(settings.judge) | {"endpoint": identity(settings.judge.endpoint)}
    if settings.check is not None:
        own |= to_dict(settings.check)
        own.pop("concurrency")
    return own


def check_scorer(settings: ScorerSettings) -> None:
    """Say what can be known to be wrong with a scorer before any answer is there.

    Raises:
        SettingsError: There is no such function.
        WeightsError: The reward model needs code of its own, or has several outputs.
    """
    if settings.callable is not None:
        _function(settings.callable)
    if settings.reward_model is not None:
        check_reward_model(settings.reward_model.path)


def check_references(settings: ScorerSettings, rows: Iterable[PromptRow]) -> None:
    """Say which prompt has no reference that a check can use, before any answer is there.

    Raises:
        DataError: Names the row.
    """
    if settings.check is not None:
        for row in rows:
            reference_of(Question(row.where, row.messages, (), row.reference), settings.check.kind)


def scorer_inputs(settings: ScorerSettings) -> dict[str, str]:
    """Return the digests of what a scorer is made of."""
    if settings.callable is not None:
        _function(settings.callable)
        file = sys.modules[settings.callable.partition(":")[0]].__file__
        return {"callable": digest_file(file) if file else settings.callable}
    if settings.reward_model is not None:
        return {"reward_model": digest_model(settings.reward_model.path)}
    return {}


def make_scorer(settings: ScorerSettings, folder: Path, device: str) -> Scorer:
    """Return the scorer of some settings; a judge keeps its replies in the folder."""
    if settings.callable is not None:
        return _called(settings.callable)
    if settings.reward_model is not None:
        return reward_model(settings.reward_model, device)
    if settings.judge is not None:
        return judge(settings.judge, folder)
    assert settings.check is not None, "one of them is given"  # noqa: S101
    return checker(settings.check)


def _called(name: str) -> Scorer:
    """Return a scorer of a user's function; its errors are the failures of the answers."""
    function = _function(name)

    def one(question: Question) -> list[Result]:
        more = () if question.reference is None else (question.reference,)
        chat = [message._asdict() for message in question.prompt]
        try:
            values = list(function(chat, list(question.answers), *more))
        except InarchError:
            raise
        except Exception as error:  # whatever a user's function may raise
            logger.debug("%s failed", name, exc_info=True)
            failed = NoScore(f"{name} failed: {type(error).__name__}: {error}")
            return [failed] * len(question.answers)
        if len(values) != len(question.answers):
            failed = NoScore(f"{name} gave {len(values)} numbers for {len(question.answers)}")
            return [failed] * len(question.answers)
        return [_number(name, value) for value in values]

    def score(questions: Sequence[Question]) -> Scores:
        for number, question in enumerate(questions):
            yield number, one(question)

    return score


def _number(name: str, value: Any) -> Result:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one is torch's
        return NoScore(f"{name} gave {value!r:.80}, expected a number")


def _function(name: str) -> Callable[..., Any]:
    """Return what a dotted name means; a module may be a file of the working directory."""
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module may raise
        logger.debug("%s cannot be imported", module_name, exc_info=True)
        raise SettingsError(
            f"scorer.callable: cannot import {module_name} ({type(error).__name__}: {error});"
            " expected a module that is installed, or a file"
            f" {module_name.replace('.', '/')}.py in {here}, that runs without an error"
        ) from error
    finally:
        sys.path.remove(here)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise SettingsError(f"scorer.callable: {module_name} has no function {attribute!r}")
    return function


def _rest(question: Question, known: Sequence[Result | None]) -> Question:
    """Return a question with the answers that have no result yet."""
    pairs = zip(question.answers, known, strict=True)
    return question._replace(answers=tuple(answer for answer, one in pairs if one is None))


def _checked(result: Result) -> Result:
    if isinstance(result, NoScore) or math.isfinite(result):
        return result
    return NoScore(f"the scorer gave {result}, expected a finite number")


def _stop_at_failures(question: Question, known: Sequence[Result | None], folder: Path) -> None:
    for answer, one in zip(question.answers, known, strict=True):
        if isinstance(one, NoScore):
            raise DataError(
                f"{question.where}: no score for the answer {answer!r:.80}: {one.reason}. What is"
                f" scored is kept in {folder}; run again when the cause is mended, or set"
                " scorer.on_error: drop to count such answers and leave them out"
            )


class _Journal:
    """What a scorer has said, a line per question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = read_metrics(path) if path.exists() else []
        self._lines = {row["key"]: row for row in rows}

    def get(self, question: Question, *, retry: bool) -> list[Result | None]:
        """Return what is known of each answer; with ``retry``, nothing of those that failed."""
        line = self._lines.get(_key(question))
        if line is None:
            return [None] * len(question.answers)
        failed = {} if retry else line["failures"]
        return [
            NoScore(failed[str(i)]) if str(i) in failed else score
            for i, score in enumerate(line["scores"])
        ]

    def add(self, question: Question, known: Sequence[Result | None]) -> None:
        """Keep what is known of a question's answers."""
        failed = {str(i): one.reason for i, one in enumerate(known) if isinstance(one, NoScore)}
        line = {
            "key": _key(question),
            "where": question.where,
            "scores": [None if isinstance(one, NoScore) else one for one in known],
            "failures": failed,
        }
        append_metrics(self._path, line)
        self._lines[line["key"]] = line


def _key(question: Question) -> str:
    content = [question.prompt, question.answers, question.reference]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

"""Answers checked by a rule: the same text, the same number, a pattern, a test that passes."""

import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from inarch.errors import DataError, SettingsError
from inarch.flows._scoring.question import Question, Scorer, Scores
from inarch.flows._scoring.run_code import code_of, passes
from inarch.flows._scoring.settings import CheckSettings

_NUMBER = re.compile(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?")


def checker(settings: CheckSettings) -> Scorer:
    """Return a scorer that gives 1.0 to right answers and 0.0 to others."""

    def score(questions: Sequence[Question]) -> Scores:
        with ThreadPoolExecutor(settings.concurrency) as pool:
            for number, question in enumerate(questions):
                reference = reference_of(question, settings.kind)
                found = pool.map(
                    lambda answer, r=reference: float(is_right(answer, r, settings)),
                    question.answers,
                )
                yield number, list(found)

    return score


def is_right(answer: str, reference: str, settings: CheckSettings) -> bool:
    """Return whether an answer is what the reference asks for."""
    if settings.extract is not None:
        matches = list(re.finditer(settings.extract, answer))
        if not matches:
            return False
        answer = matches[-1][matches[-1].re.groups and 1] or ""
    match settings.kind:
        case "exact":
            return answer.strip() == reference.strip()
        case "number":
            written, wanted = last_number(answer), last_number(reference)
            if written is None or wanted is None:
                return False
            return math.isclose(written, wanted, rel_tol=1e-9)
        case "regex":
            return re.search(reference, answer) is not None
        case "code":
            return passes(code_of(answer), reference, settings.timeout_s, settings.memory_mib)


def last_number(text: str) -> float | None:
    """Return the last number of a text, with commas between thousands or without."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def reference_of(question: Question, kind: str) -> str:
    """Return the reference of a question.

    Raises:
        SettingsError: There is none.
        DataError: It is not of the kind that is checked; names the row.
    """
    reference = question.reference
    if reference is None:
        raise SettingsError(
            f"{question.where}: scorer.check compares with a reference, of which there is none;"
            " name its column as prompts.reference"
        )
    if kind == "number" and last_number(reference) is None:
        raise DataError(f"{question.where}: found the reference {reference!r:.80}, with no number")
    if kind == "regex":
        try:
            re.compile(reference)
        except re.error as error:
            raise DataError(
                f"{question.where}: the reference {reference!r:.80} is no regular expression"
                f" ({error})"
            ) from None
    return reference

"""Answers with their scores, as candidates of a prompt; rows of files made of those."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.align._candidates import Candidate, Pair, Triple
from inarch.align._prompts import PromptRow
from inarch.flows._scoring.question import NoScore, Result
from inarch.io.answers import Answer
from inarch.io.files import write_atomic

EMPTY = "empty answer"


class Answered(NamedTuple):
    """What models answer to prompts, and how good that is."""

    models: Mapping[str, Sequence[Sequence[Answer]]]
    """Answers by model, prompt and sample."""
    results: Sequence[Sequence[Result]]
    """Of each prompt, one per different text, in the order of `texts`."""

    def candidates(self, number: int) -> list[Candidate]:
        """Return the answers to a prompt, model by model."""
        found = texts(self.models, number)
        results = dict(zip(found, self.results[number], strict=True))
        return [
            _candidate(name, sample, answer, results)
            for name, answers in self.models.items()
            for sample, answer in enumerate(answers[number])
        ]


def texts(models: Mapping[str, Sequence[Sequence[Answer]]], number: int) -> tuple[str, ...]:
    """Return the different texts that answer a prompt and can be scored."""
    found = [answer for answers in models.values() for answer in answers[number]]
    return tuple(dict.fromkeys(a.text or "" for a in found if not unusable(a)))


def _candidate(model: str, sample: int, answer: Answer, results: Mapping[str, Result]) -> Candidate:
    """Return an answer as a candidate; without a text or a score it has a failure."""
    problem = unusable(answer)
    if problem:
        return Candidate(model, sample, answer.seed, answer.text, None, problem)
    result = results[answer.text or ""]
    if isinstance(result, NoScore):
        return Candidate(model, sample, answer.seed, answer.text, None, result.reason)
    return Candidate(model, sample, answer.seed, answer.text, result)


def unusable(answer: Answer) -> str:
    """Return why an answer cannot be scored; nothing if it can."""
    if answer.text is None:
        return answer.failure or "no answer"
    if not answer.text.strip():
        return EMPTY
    if any("\ud800" <= letter <= "\udfff" for letter in answer.text):
        return "lone surrogates"
    return ""


def sft_row(prompt: PromptRow, answer: Candidate) -> dict[str, Any]:
    """Return a row of the first stage, as TRL's SFT reads it too."""
    return {
        "prompt": [message._asdict() for message in prompt.messages],
        "completion": [_said(answer)],
        **_provenance([answer]),
    }


def preference_row(prompt: PromptRow, row: Triple | Pair) -> dict[str, Any]:
    """Return a triple as WRPO publishes it, or a pair as TRL reads it.

    ``models``, ``samples``, ``seeds`` and ``scores`` are of the answers in their order.
    """
    turns = [message._asdict() for message in prompt.messages]
    if isinstance(row, Pair):
        chosen, shown = [_said(row.chosen)], turns
    else:
        chosen = [_said(row.source), _said(row.target)]
        shown = turns[0] if len(turns) == 1 else turns  # type: ignore[assignment]
    return {
        "prompt": shown,
        "chosen": chosen,
        "rejected": [_said(row.rejected)],
        **_provenance(row),
    }


def candidate_row(
    prompt: PromptRow,
    part: str,
    row: Triple | Pair | Candidate | str,
    candidates: Iterable[Candidate],
) -> dict[str, Any]:
    """Return all that is known about a prompt."""
    return {
        "where": prompt.where,
        "prompt": [message._asdict() for message in prompt.messages],
        "part": part,
        "left_out": row if isinstance(row, str) else None,
        "answers": [candidate._asdict() for candidate in candidates],
    }


def _said(answer: Candidate) -> dict[str, str]:
    return {"role": "assistant", "content": answer.text or ""}


def _provenance(answers: Iterable[Candidate]) -> dict[str, Any]:
    found = list(answers)
    return {
        "models": [answer.model for answer in found],
        "samples": [answer.sample for answer in found],
        "seeds": [answer.seed for answer in found],
        "scores": [answer.score for answer in found],
    }


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows, in one piece."""
    with write_atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            text = json.dumps(row, ensure_ascii=False)
            file.write(text.encode("utf-8", "backslashreplace").decode() + "\n")

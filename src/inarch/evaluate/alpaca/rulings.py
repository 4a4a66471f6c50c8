"""What a judge rules, as rows of AlpacaEval's ``annotations.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inarch.evaluate.alpaca.files import Annotation
from inarch.evaluate.judges.benchmark import JudgedModel, Ruling
from inarch.evaluate.judges.questions import Question
from inarch.io.endpoints import Reply


def judge_names(judged: JudgedModel) -> set[str]:
    """Return what the endpoint calls the models that replied."""
    return {reply.model for replies in judged.replies for reply in replies}


def annotate(
    annotator: str, questions: Sequence[Question], judged: JudgedModel
) -> list[Annotation]:
    """Return one row per instruction, in the order of asking.

    A preference is the mean over the instruction's orders, and NaN where one of them has none: the
    other alone would count what the judge thinks of places.
    """
    known = {question.id: question for question in questions}
    of: dict[str, list[int]] = {}
    for at, case in enumerate(judged.cases):
        of.setdefault(case.question, []).append(at)
    replies = judged.replies or ((),) * len(judged.cases)
    found = []
    for instruction, places in of.items():
        question = known[instruction]
        values = [judged.rulings[at].value for at in places]
        found.append(
            Annotation(
                instruction=instruction,
                output_1=question.baseline or "",
                output_2=judged.dialogues[instruction][0],
                generator_1=question.baseline_model,
                generator_2=judged.model,
                annotator=annotator,
                preference=1 + sum(values) / len(values),
                dataset=question.category,
                more=_more([(replies[at], judged.rulings[at]) for at in places]),
            )
        )
    return found


def _more(said: Sequence[tuple[tuple[Reply, ...], Ruling]]) -> dict[str, Any]:
    """Return what the judge said, the official order first, in the package's shape."""
    found: dict[str, Any] = {}
    for column, (replies, _) in zip(
        ("raw_completion", "raw_completion_reversed"), said, strict=False
    ):
        found[column] = _completion(replies[-1]) if replies else None
    if failures := [ruling.failure for _, ruling in said if ruling.failure]:
        found["failure"] = "; ".join(failures)
    return found


def _completion(reply: Reply) -> dict[str, Any]:
    top = [{"token": token, "logprob": logp} for token, logp in reply.top_logprobs or ()]
    first = {"token": reply.text, "top_logprobs": top}
    counted = reply.num_prompt_tokens is not None and reply.num_answer_tokens is not None
    return {
        "finish_reason": reply.finish_reason,
        "index": 0,
        "logprobs": {"content": [first]} if reply.top_logprobs else None,
        "message": {"content": reply.text, "role": "assistant"},
        "text": reply.text,
        "model": reply.model,
        "total_tokens": (reply.num_prompt_tokens or 0) + (reply.num_answer_tokens or 0)
        if counted
        else None,
    }

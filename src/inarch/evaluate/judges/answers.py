"""Models' answers to the questions of published benchmarks, read and written as official files.

Source:  the shapes of tatsu-lab/alpaca_eval (``outputs.json``), lmarena/arena-hard-auto
         (``model_answer`` at 0489bf3 and 196f6b8) and lm-sys/FastChat (``model_answer``,
         ``reference_answer``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import DataError
from inarch.evaluate._rows import Row, read_rows, require
from inarch.evaluate.judges.answer_style import style_counts
from inarch.evaluate.judges.official import BenchmarkName
from inarch.evaluate.judges.questions import Question, with_instruction
from inarch.io.files import write_json, write_jsonl

FOLDER = "model_answer"
"""Of answers, beside the judgments."""
NO_ANSWER = "$ERROR$"
"""What official tools write for an answer that they did not get."""


class Answered(NamedTuple):
    """A row of a model's answers."""

    question: str
    model: str
    turns: tuple[str, ...]
    """One answer per turn."""


def read_model_answers(path: Path, benchmark: BenchmarkName) -> dict[str, tuple[str, ...]]:
    """Return one model's answers by question, one per turn.

    Arena-Hard's files of both versions are read, whatever version is asked for: v0.1's were
    rewritten in the shape of v2.

    Args:
        path: A file in the official shape: .json, .jsonl or .csv.
        benchmark: Whose answers they are.

    Raises:
        DataError: It is something else, of several models, or has a question twice; the row is
            named.
    """
    found: dict[str, tuple[str, ...]] = {}
    model: str | None = None
    for row in read_rows(path):
        question, answering, answers = read_answer(row, benchmark)
        if model is not None and answering != model:
            raise DataError(
                f"{row.where}: found an answer by {answering!r} after {model!r}; expected one"
                " model: give each its own file"
            )
        if question in found:
            raise DataError(
                f"{row.where}: found another answer to {question!r:.80}; expected one: remove one"
            )
        found[question], model = answers, answering
    return found


def answering_model(path: Path, benchmark: BenchmarkName) -> str:
    """Return whose answers a file holds, as it says itself.

    Raises:
        DataError: It is something else.
    """
    return read_answer(read_rows(path)[0], benchmark).model


def write_model_answers(
    path: Path,
    benchmark: BenchmarkName,
    model: str,
    questions: Sequence[Question],
    answers: Mapping[str, tuple[str, ...]],
) -> None:
    """Write one model's answers as an official file, in the order of the questions.

    Arena-Hard's have counts of their style, see `inarch.evaluate.judges.answer_style`.

    Args:
        path: ``.json`` for AlpacaEval, ``.jsonl`` for the others.
        benchmark: Whose shape it gets.
        model: What the file calls the model.
        questions: All that were asked; one without an answer is left out.
        answers: By question, one per turn.
    """
    asked = [question for question in questions if question.id in answers]
    rows = [_row(benchmark, model, question, answers[question.id]) for question in asked]
    if benchmark == "alpaca_eval2":
        write_json(path, rows)
    else:
        write_jsonl(path, rows)


def read_answer(row: Row, benchmark: BenchmarkName) -> Answered:
    """Return what one row of a file says, see `read_model_answers`.

    Raises:
        DataError: It is something else.
    """
    if benchmark == "alpaca_eval2":
        row = with_instruction(row)
        need: tuple[str, ...] = ("instruction", "output")
        require([row], need, f"answers to {benchmark} ({', '.join(need)}; generator)")
        model = "" if row.values.get("generator") is None else str(row.values["generator"])
        return Answered(row.text("instruction"), model, (row.text("output"),))
    if benchmark != "mt_bench" and "uid" in row.values:
        require([row], ("uid", "model", "messages"), f"answers to {benchmark}")
        return Answered(row.text("uid"), row.text("model"), (_last_message(row),))
    need = ("question_id", "model_id", "choices")
    require([row], need, f"answers to {benchmark} ({', '.join(need)})")
    return Answered(row.text("question_id"), row.text("model_id"), _first_choice(row))


def _last_message(row: Row) -> str:
    messages = row.values["messages"]
    try:
        content = messages[-1]["content"]
        answer = content["answer"] if isinstance(content, dict) else content
    except (LookupError, TypeError):
        answer = None
    if not isinstance(answer, str):
        raise DataError(
            f"{row.where}: messages: found {messages!r:.80}, expected a list, the last one with the"
            " answer as its content"
        )
    return answer


def _first_choice(row: Row) -> tuple[str, ...]:
    choices = row.values["choices"]
    try:
        turns = choices[0]["turns"]
        texts = [turn["content"] if isinstance(turn, dict) else turn for turn in turns]
    except (LookupError, TypeError):
        texts = []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{row.where}: choices: found {choices!r:.80}, expected a list, the first one with"
            " the texts of its turns"
        )
    return tuple(texts)


def _row(
    benchmark: BenchmarkName, model: str, question: Question, answers: tuple[str, ...]
) -> dict[str, Any]:
    if benchmark == "alpaca_eval2":
        known = {"dataset": question.category} if question.category else {}
        return known | {"instruction": question.id, "output": answers[0], "generator": model}
    if benchmark == "arena_hard_v2":
        messages = [
            {"role": "user", "content": question.turns[0]},
            {"role": "assistant", "content": {"answer": answers[0]}},
        ]
        row = {"uid": question.id, "model": model, "messages": messages}
        return row | {"metadata": style_counts(answers[0])}
    if benchmark == "arena_hard_v0.1":
        style = style_counts(answers[0])
        turns = [{"content": answers[0], "token_len": style["token_len"]}]
        row = {"question_id": question.id, "model_id": model}
        return row | {"choices": [{"index": 0, "turns": turns}], "conv_metadata": style}
    number = int(question.id) if question.id.isdecimal() else question.id
    choices = [{"index": 0, "turns": list(answers)}]
    return {"question_id": number, "model_id": model, "choices": choices}

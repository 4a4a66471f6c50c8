"""The questions of published benchmarks, read from official files and those of the same shapes.

Source:  tatsu-lab/alpaca_eval (``alpaca_eval_gpt4_baseline.json``), lmarena/arena-hard-auto
         (``question.jsonl``; v0.1 at 0489bf3, v2 at 196f6b8), lm-sys/FastChat
         (``question.jsonl``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import DataError
from inarch.evaluate._rows import Row, read_rows, require
from inarch.evaluate.judges.official import BenchmarkName


class Question(NamedTuple):
    """One question, of one turn or two."""

    id: str
    """AlpacaEval's questions have none but their instruction."""
    category: str
    """``""`` where the benchmark has none."""
    turns: tuple[str, ...]
    baseline: str | None = None
    """The answer that models are compared with, where the file holds it."""
    baseline_model: str = ""
    references: tuple[str, ...] = ()
    """Answers that the judge is shown, one per turn; never those in MT-Bench's questions, which
    the official judge does not see, but what `with_references` adds."""


def read_questions(path: Path, benchmark: BenchmarkName) -> tuple[Question, ...]:
    """Return the questions of a file in the benchmark's official shape.

    A category may be absent. AlpacaEval's have the baseline's answer where the row has one. Where
    an instruction or a single turn is wanted a ``prompt`` will do, and is then the question's id.

    Args:
        path: The official file, or one of the same shape: .json, .jsonl or .csv.
        benchmark: Whose shape it is.

    Raises:
        DataError: It is something else, or has a question twice or an empty one; the row is named.
    """
    rows = read_rows(path)
    shaped = {"alpaca_eval2": with_instruction, "arena_hard_v0.1": _with_turns}.get(benchmark)
    rows = [shaped(row) for row in rows] if shaped else rows
    need, make = _QUESTIONS[benchmark]
    require(rows, need, f"questions of {benchmark} ({', '.join(need)})")
    questions = tuple(make(row) for row in rows)
    first: dict[str, str] = {}
    for row, question in zip(rows, questions, strict=True):
        if not all(turn.strip() for turn in question.turns):
            raise DataError(f"{row.where}: found nothing asked, expected a text; remove the row")
        if question.id in first:
            raise DataError(
                f"{row.where}: found the question {question.id!r:.80}, which {first[question.id]}"
                " has already; expected each one once: remove one of them"
            )
        first[question.id] = row.where
    return questions


def with_instruction(row: Row) -> Row:
    """Return a row of AlpacaEval's whose instruction is called so, and not prompt."""
    if "instruction" in row.values or "prompt" not in row.values:
        return row
    return row._replace(values={**row.values, "instruction": row.values["prompt"]})


def _with_turns(row: Row) -> Row:
    """Return a row of Arena-Hard's of one turn, where there is only a prompt; v2's have a uid."""
    if "turns" in row.values or "prompt" not in row.values or "uid" in row.values:
        return row
    prompt = row.text("prompt")
    own = {"question_id": row.values.get("question_id", prompt), "turns": [prompt]}
    return row._replace(values={**row.values, **own})


def with_references(
    questions: Sequence[Question], answers: Mapping[str, tuple[str, ...]]
) -> tuple[Question, ...]:
    """Return questions with reference answers, where there are some."""
    return tuple(
        question._replace(references=answers.get(question.id, ())) for question in questions
    )


def with_baseline(
    questions: Sequence[Question], model: str, answers: Mapping[str, tuple[str, ...]]
) -> tuple[Question, ...]:
    """Return questions with a baseline's answer to the first turn.

    Raises:
        DataError: A question has none.
    """
    missing = [question.id for question in questions if question.id not in answers]
    if missing:
        raise DataError(
            f"found no answer of the baseline {model} to {len(missing)} of {len(questions)}"
            f" questions, such as {missing[0]!r:.80}; expected one to each"
        )
    return tuple(
        question._replace(baseline=answers[question.id][0], baseline_model=model)
        for question in questions
    )


def _alpaca(row: Row) -> Question:
    baseline = row.text("output") if row.values.get("output") is not None else None
    return Question(
        id=row.text("instruction"),
        category=_category(row, "dataset"),
        turns=(row.text("instruction"),),
        baseline=baseline,
        baseline_model="" if baseline is None else _category(row, "generator"),
    )


def _arena_v01(row: Row) -> Question:
    """Return a question; its category is the benchmark's name, its cluster too fine to count by."""
    turns = row.values["turns"]
    texts = [turn.get("content") if isinstance(turn, dict) else turn for turn in _list(turns)]
    return Question(row.text("question_id"), "", _texts(texts, row, "turns"))


def _arena_v2(row: Row) -> Question:
    return Question(row.text("uid"), _category(row, "category"), (row.text("prompt"),))


def _mt_bench(row: Row) -> Question:
    turns = _texts(_list(row.values["turns"]), row, "turns")
    return Question(row.text("question_id"), _category(row, "category"), turns)


_QUESTIONS: Mapping[BenchmarkName, tuple[tuple[str, ...], Callable[[Row], Question]]] = {
    "alpaca_eval2": (("instruction",), _alpaca),
    "arena_hard_v0.1": (("question_id", "turns"), _arena_v01),
    "arena_hard_v2": (("uid", "prompt"), _arena_v2),
    "mt_bench": (("question_id", "turns"), _mt_bench),
}


def _category(row: Row, column: str) -> str:
    return row.text(column) if row.values.get(column) is not None else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(values: Sequence[Any], row: Row, column: str) -> tuple[str, ...]:
    if not values or not all(isinstance(value, str) for value in values):
        raise DataError(
            f"{row.where}: {column}: found {row.values.get(column)!r:.80}, expected texts, at least"
            " one"
        )
    return tuple(values)

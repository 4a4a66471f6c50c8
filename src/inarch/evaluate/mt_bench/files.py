"""MT-Bench's files: judgments, read from FastChat's JSONL or a CSV of scores, and written.

Source:  the shape of lm-sys/FastChat, ``data/mt_bench/model_judgment/gpt-4_single.jsonl``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from inarch.errors import DataError
from inarch.evaluate._rows import Row, read_rows, require
from inarch.evaluate.mt_bench.ratings import INVALID, Rating, category_of, rating_of
from inarch.io.files import write_jsonl

_SHAPE = "MT-Bench's judgments (question_id, model, turn, score or judgment; judge)"


def read_ratings(path: Path, questions: Path | None = None) -> tuple[Rating, ...]:
    """Return the single-answer judgments of a file, or of a folder of JSONL files.

    A row without a score is read from its judgment.

    Args:
        path: The file.
        questions: A ``question.jsonl`` that names categories of questions that are not the 80.

    Raises:
        DataError: It is something else, or of several judges; the row is named.
    """
    rows = read_rows(path)
    require(rows, ("question_id", "model", "turn"), _SHAPE)
    categories = read_categories(questions) if questions else {}
    ratings: list[Rating] = []
    for row in rows:
        rating = _rating(row, categories)
        if ratings and rating.judge != ratings[0].judge:
            raise DataError(
                f"{row.where}: judge: found {rating.judge!r} after {ratings[0].judge!r}; ratings of"
                " two judges do not mean the same: score each alone"
            )
        ratings.append(rating)
    return tuple(ratings)


def write_judgments(path: Path, judgments: Sequence[tuple[Rating, str]]) -> None:
    """Write ratings with the judge's words as FastChat's JSONL.

    A rating's judgment says the rating, as far as FastChat reads it. A question that is not one of
    the 80 has its category beside it, which FastChat does not mind.
    """
    lines = (
        {
            "question_id": rating.question,
            "model": rating.model,
            "judge": [rating.judge, rating.prompt],
            "judgment": words,
            "score": rating.score,
            "turn": rating.turn,
        }
        | ({} if rating.category == category_of(rating.question) else {"category": rating.category})
        for rating, words in judgments
    )
    write_jsonl(path, lines)


def _rating(row: Row, categories: Mapping[int, str]) -> Rating:
    question, turn = row.whole("question_id"), row.whole("turn")
    if turn not in (1, 2):
        raise DataError(f"{row.where}: turn: found {turn}, expected 1 or 2")
    judge, prompt = judge_of(row)
    named = row.values.get("category")
    category = str(named) if named else categories.get(question) or category_of(question)
    return Rating(question, category, row.text("model"), turn, _score(row), judge, prompt)


def _score(row: Row) -> float:
    score = row.number_or_nan("score")
    if score != score:
        words = row.values.get("judgment")
        if not isinstance(words, str):
            raise DataError(f"{row.where}: score: found none, and no judgment to read one from")
        return rating_of(words)
    if score < 0 and score != INVALID:
        raise DataError(f"{row.where}: score: found {score}, expected a rating, or -1 for none")
    return score


def judge_of(row: Row) -> tuple[str, str]:
    """Return a row's judge and the name of its prompt, ``""`` where it has none.

    Raises:
        DataError: It is something else.
    """
    judge = row.values.get("judge") or ""
    if isinstance(judge, list) and len(judge) == 2:
        return str(judge[0]), str(judge[1])
    if isinstance(judge, str):
        return judge, str(row.values.get("prompt") or "")
    raise DataError(f"{row.where}: judge: found {judge!r:.80}, expected a name, or [judge, prompt]")


def read_categories(path: Path) -> dict[int, str]:
    """Return the category of each question of a ``question.jsonl``.

    Raises:
        DataError: It is something else; the row is named.
    """
    rows = read_rows(path)
    require(rows, ("question_id", "category"), "MT-Bench's question.jsonl")
    return {row.whole("question_id"): row.text("category") for row in rows}

r"""Rows with several answers of known quality, in one form: a prompt, its answers, their scores.

    rows like      columns                                        score(x, y)
    Nectar         prompt, answers of {answer, rank}              the negative rank
    UltraFeedback  instruction, completions of {response, ...}    one of its score columns
    lists          prompt, answers (texts), scores                theirs
    pairs          prompt, chosen, rejected, in any form of       score_chosen and score_rejected,
                   `inarch.align._read`                           or 1 and 0 where they are absent

A prompt that is one text is a turn of the user's; Nectar's, which spells its turns after
``\n\nHuman:`` and ``\n\nAssistant:``, becomes the turns that it spells.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import PositiveInt

from inarch.align._read import Prompt, preferences
from inarch.data import file_rows
from inarch.errors import DataError
from inarch.records import Message
from inarch.settings import Settings

Chat = tuple[Message, ...]
_SPELLED = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


class RankedSettings(Settings):
    """Where answers of known quality are. A bare string is the path."""

    short = "path"

    path: str
    """A .jsonl, .json or .parquet file, or the id of a dataset of the hub."""
    split: str = "train"
    """Split of a hub dataset; files have none."""
    score: Literal["fine-grained_score", "overall_score"] = "fine-grained_score"
    """Column of UltraFeedback's completions. Its ``overall_score`` was first published with tens
    that stand for ones."""
    limit: PositiveInt | None = None
    """Read only this many rows."""


class Ranked(NamedTuple):
    """One prompt with its answers."""

    where: str
    """``file:line`` or ``file row n``, for messages."""
    prompt: Chat
    answers: tuple[str, ...]
    """Two or more, all different."""
    scores: tuple[float, ...]
    """Theirs; higher is better."""


def ranked_rows(settings: RankedSettings, dropped: Counter[str]) -> Iterator[Ranked]:
    """Yield the rows of a file in its order; what is left out is counted.

    Raises:
        DataError: A row holds no answers whose quality is known; it is named.
    """
    for number, (where, row) in enumerate(file_rows(settings.path, settings.split)):
        if settings.limit is not None and number >= settings.limit:
            return
        found = ranked(row, where, settings.score, dropped)
        if found is not None:
            yield found


def ranked(row: Any, where: str, score: str, dropped: Counter[str]) -> Ranked | None:
    """Return a row as a prompt with scored answers, or None and count why it is of no use.

    Args:
        row: As it stands in the file.
        where: Its place, for messages.
        score: Column of UltraFeedback's completions.
        dropped: Counts rows that are left out, and answers of rows that stay.

    Raises:
        DataError: The row is in none of the forms, or a score is no number.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: found {type(row).__name__}, expected an object with columns")
    given, listed = _listed(row, where, score)
    best: dict[str, float] = {}
    prompt: Prompt = ()
    for text, value in listed:
        if not math.isfinite(value):
            dropped["answers without a score"] += 1
            continue
        reasons: Counter[str] = Counter()
        read = preferences({**given, "completion": text}, where, "answers", "auto", reasons)
        if not read:
            dropped.update(reason.replace("rows", "answers", 1) for reason in reasons)
            continue
        prompt, answer = read[0].prompt, read[0].answers[0]
        dropped["answers that stand twice in a row"] += answer in best
        best[answer] = max(value, best.get(answer, -math.inf))
    if len(best) < 2:
        dropped["rows with fewer than two answers"] += 1
        return None
    chat, begun = as_chat(prompt), ""
    if chat[-1].role == "assistant":  # texts that both begin with are taken for the prompt
        *turns, said = chat
        chat, begun = tuple(turns), said.content
    return Ranked(where, chat, tuple(begun + text for text in best), tuple(best.values()))


def as_chat(prompt: Prompt) -> Chat:
    """Return a prompt as turns; a text is the user's, unless it spells several."""
    if not isinstance(prompt, str):
        return prompt
    if not prompt.startswith("\n\nHuman:"):
        return (Message("user", prompt),)
    _, *parts = _SPELLED.split(prompt)
    turns = [
        Message(_ROLES[name], text.strip())
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    if turns[-1] == Message("assistant", ""):  # whose turn it is
        turns.pop()
    return tuple(turns)


def _listed(
    row: Mapping[str, Any], where: str, score: str
) -> tuple[dict[str, Any], list[tuple[Any, float]]]:
    """Return a row's prompt as a column, and its answers with their scores."""
    if isinstance(row.get("completions"), list | tuple):
        found = [_entry(item, where, "response", score) for item in row["completions"]]
        return {"prompt": row.get("instruction", row.get("prompt"))}, found
    answers = row.get("answers")
    if isinstance(answers, list | tuple) and "scores" in row:
        scores = row["scores"]
        if not isinstance(scores, list | tuple) or len(scores) != len(answers):
            raise DataError(
                f"{where}: scores: found {scores!r:.80} for {len(answers)} answers, expected one"
                " number for each"
            )
        numbers = [_number(value, where, "scores") for value in scores]
        return {"prompt": row.get("prompt")}, list(zip(answers, numbers, strict=True))
    if isinstance(answers, list | tuple):
        found = [_entry(item, where, "answer", "rank") for item in answers]
        return {"prompt": row.get("prompt")}, [(text, -rank) for text, rank in found]
    return _pair(row, where)


def _pair(row: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[tuple[Any, float]]]:
    """Return the answers of a pair; what its form makes unusable comes back as no answers."""
    if not {"chosen", "rejected"} <= row.keys() and "target" not in row:
        raise DataError(
            f"{where}: found the columns {', '.join(sorted(map(str, row)))}; expected prompt with"
            " chosen and rejected, with answers (of answer and rank, or texts beside scores), or"
            " instruction with completions (of response and a score)"
        )
    found = preferences(row, where, "pairs", "auto", Counter())
    if not found:
        return {}, []
    names = ("score_chosen", "score_rejected")
    scores = (1.0, 0.0)
    if all(row.get(name) is not None for name in names):
        scores = (_number(row[names[0]], where, names[0]), _number(row[names[1]], where, names[1]))
    prompt = found[0].prompt
    as_column = prompt if isinstance(prompt, str) else [turn._asdict() for turn in prompt]
    return {"prompt": as_column}, list(zip(found[0].answers, scores, strict=True))


def _entry(item: Any, where: str, text: str, number: str) -> tuple[Any, float]:
    """Return the answer of one entry of a list, and its score or rank."""
    if not isinstance(item, Mapping) or text not in item or number not in item:
        raise DataError(
            f"{where}: found the entry {item!r:.80}, expected one with {text} and {number}"
        )
    return item[text] or "", _number(item[number], where, number)


def _number(value: Any, where: str, column: str) -> float:
    """Return a score, NaN where there is none."""
    if value is None:
        return math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise DataError(f"{where}: {column}: found {value!r:.40}, expected a number")

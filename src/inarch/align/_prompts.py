"""Rows of a file as prompts alone: what models are asked, without the answers that may stand there.

A prompt is the column ``prompt`` (a text, a message or a list of messages); without one, the turns
of ``messages`` or ``chosen`` before the last answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import PositiveInt

from inarch.align._read import read_prompt
from inarch.align._rows import Dropped
from inarch.data import file_rows
from inarch.errors import DataError
from inarch.records import Message
from inarch.settings import Settings


class PromptSettings(Settings):
    """Where prompts are. A bare string is the path."""

    short = "path"

    path: str
    """A .jsonl, .json or .parquet file, or the id of a dataset of the hub."""
    split: str = "train"
    """Split of a hub dataset; files have none."""
    reference: str | None = None
    """Column with what is right, for scorers that need it: an answer, a pattern, a test."""
    limit: PositiveInt | None = None
    """Read only this many rows."""


class PromptRow(NamedTuple):
    """One prompt."""

    where: str
    """``file:line`` or ``file row n``, for messages."""
    messages: tuple[Message, ...]
    """Ends with the turn that is to be answered."""
    reference: str | None
    """What is right, where the settings name a column for it."""


def read_prompts(settings: PromptSettings, dropped: Dropped) -> Iterator[PromptRow]:
    """Yield the prompts of a file in its order; a text is a turn of the user.

    Args:
        settings: Where they are.
        dropped: Counts why rows are left out.

    Raises:
        DataError: There is no such file, or a row holds something else; the row is named.
    """
    for number, (where, row) in enumerate(file_rows(settings.path, settings.split)):
        if settings.limit is not None and number >= settings.limit:
            return
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: found {type(row).__name__}, expected an object with columns")
        messages = _messages(row, where)
        reference = _reference(row, where, settings.reference)
        texts = [*(m.content for m in messages), reference or ""]
        if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
            dropped.add("rows with lone surrogates", where)
        elif not messages or not messages[-1].content.strip():
            dropped.add("rows with an empty prompt", where)
        else:
            yield PromptRow(where, messages, reference)


def once(rows: Iterable[PromptRow], dropped: Dropped) -> Iterator[PromptRow]:
    """Yield each prompt where it stands first, so that no two parts of a file share one.

    Args:
        rows: In the order of the file.
        dropped: Counts the others.
    """
    seen: set[tuple[Message, ...]] = set()
    for row in rows:
        if row.messages in seen:
            dropped.add("prompts that stand there twice", row.where)
        else:
            seen.add(row.messages)
            yield row


def _messages(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    if row.get("prompt") is not None:
        found = read_prompt(row["prompt"], where)
        return (Message("user", found),) if isinstance(found, str) else found
    for column in ("messages", "chosen"):
        turns = row.get(column)
        if isinstance(turns, list | tuple) and turns:
            num_before = len(turns)
            while num_before and _role(turns[num_before - 1]) == "assistant":
                num_before -= 1
            if num_before:
                return tuple(read_prompt(list(turns[:num_before]), where))  # type: ignore[arg-type]
    raise DataError(
        f"{where}: found the columns {', '.join(sorted(map(str, row)))}; expected prompt: a text,"
        " a message or a list of messages"
    )


def _role(turn: Any) -> object:
    return turn.get("role") if isinstance(turn, Mapping) else None


def _reference(row: Mapping[str, Any], where: str, column: str | None) -> str | None:
    if column is None:
        return None
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: {column}: found {value!r:.80}, expected a text or a number")

"""A corpus: texts or chats, read from files, cut once for every model, kept on disk.

Reads JSONL and JSON (``text``, ``messages``, or FuseChat's ``conversations``), Parquet with the
same columns, a plain ``.txt`` (one text), or a dataset of the hub by its id.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import PositiveInt

from inarch.errors import DataError
from inarch.records import Document, Message
from inarch.settings import Settings

_ROLES = {"human": "user", "gpt": "assistant"}  # FuseChat's names, from ShareGPT


class DataSettings(Settings):
    """Where the corpus is and how models read it. A bare string is its path."""

    short = "path"

    path: str
    """A .jsonl, .json, .parquet or .txt file, or the id of a dataset of the hub."""
    split: str = "train"
    """Split of a hub dataset; files have none."""
    max_tokens: PositiveInt = 2048
    """Longest row, in tokens of whichever model needs most, begin and end tokens included."""
    bos: bool = True
    """Texts begin with the model's begin token, where its tokenizer names one."""
    eos: bool = True
    """Whole texts end with the model's end token; texts that were cut do not."""
    template: Literal["own", "target"] = "own"
    """Whose chat template a source reads a chat under."""
    limit: PositiveInt | None = None
    """Read only this many rows."""


class Raw(NamedTuple):
    """One row as it stands in the file."""

    where: str
    """``file:line`` or ``file row n``, for messages."""
    text: str | None
    messages: tuple[Message, ...] | None
    domain: str


def digest(text: str | None, messages: tuple[Message, ...] | None) -> bytes:
    """Return 16 bytes of BLAKE2b over a text or a chat."""
    content: Any = text if messages is None else messages
    canonical = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).digest()


def read_raw(settings: DataSettings) -> Iterator[Raw]:
    """Yield the rows of a corpus file in its order.

    Raises:
        DataError: The file is absent, or a row is neither a text nor a chat; the row is named.
    """
    for number, (where, row) in enumerate(file_rows(settings.path, settings.split)):
        if settings.limit is not None and number >= settings.limit:
            return
        yield _raw(row, where)


def usable(raw: Raw, skipped: Counter[str]) -> Document | None:
    """Return the row as a document, or count in ``skipped`` why it is none.

    Turns after the last answer teach nothing and are left out.
    """
    messages = raw.messages
    if messages is not None:
        num_turns = max((i + 1 for i, m in enumerate(messages) if m.role == "assistant"), default=0)
        if num_turns < len(messages):
            skipped["turns after the last answer"] += len(messages) - num_turns
        messages = messages[:num_turns]
        if not any(m.content.strip() for m in messages if m.role == "assistant"):
            skipped["chats without an answer"] += 1
            return None
    elif not raw.text:
        skipped["empty texts"] += 1
        return None
    contents = [raw.text or ""] if messages is None else [m.content for m in messages]
    try:
        "".join(contents).encode()
    except UnicodeEncodeError:
        skipped["rows with lone surrogates"] += 1
        return None
    return Document(0, raw.text, messages, raw.domain, digest(raw.text, messages), True)


def file_rows(path_or_id: str, split: str = "train") -> Iterator[tuple[str, Any]]:
    """Yield the rows of a file or a dataset of the hub as they stand there, with their places.

    Raises:
        DataError: There is no such file or dataset, or it is cut.
    """
    path = Path(path_or_id)
    if not path.exists():
        yield from _hub_rows(path_or_id, split)
        return
    match path.suffix:
        case ".jsonl":
            yield from _jsonl_rows(path)
        case ".json":
            yield from ((f"{path} row {i}", row) for i, row in enumerate(_json_list(path)))
        case ".parquet":
            yield from _parquet_rows(path)
        case ".txt":
            yield str(path), {"text": _decoded(path.read_bytes(), str(path))}
        case other:
            raise DataError(
                f"{path}: found a {other or 'nameless'} file; expected .jsonl, .json, .parquet "
                "or .txt"
            )


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {error.start} is not UTF-8; convert it: iconv -t UTF-8"
        ) from error


def _jsonl_rows(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}:{number}"
                try:
                    yield where, json.loads(_decoded(line, where))
                except json.JSONDecodeError as error:
                    raise DataError(
                        f"{where}: not a JSON object ({error}); was the file cut?"
                    ) from error


def _json_list(path: Path) -> list[Any]:
    try:
        rows = json.loads(_decoded(path.read_bytes(), str(path)))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error}); was the file cut?") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: found {type(rows).__name__}; expected a JSON list of rows")
    return rows


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        batches = pq.ParquetFile(path).iter_batches(batch_size=1024)
        number = 0
        for batch in batches:
            for row in batch.to_pylist():
                yield f"{path} row {number}", row
                number += 1
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a whole Parquet file ({error})") from error


def _hub_rows(name: str, split: str) -> Iterator[tuple[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(name, split=split, streaming=True)
        for number, row in enumerate(rows):
            yield f"{name} row {number}", row
    except (OSError, ValueError) as error:
        raise DataError(
            f"data.path: found neither a file {name!r} nor, on the hub, a dataset of that "
            f"id with a split {split!r} ({error})"
        ) from error


def _raw(row: Any, where: str) -> Raw:
    if not isinstance(row, Mapping):
        raise DataError(
            f"{where}: found {type(row).__name__}; expected an object with text or messages"
        )
    domain = str(row.get("domain") or "")
    turns = row.get("messages")
    turns = row.get("conversations") if turns is None else turns
    if turns is not None:
        return Raw(where, None, tuple(_message(turn, where) for turn in turns), domain)
    if not isinstance(row.get("text"), str):
        raise DataError(
            f"{where}: found keys {sorted(row)}; expected a string `text`, or `messages`, a list "
            "of {role, content}"
        )
    return Raw(where, row["text"], None, domain)


def _message(turn: Any, where: str) -> Message:
    if isinstance(turn, Mapping):
        role = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        if isinstance(role, str) and isinstance(content, str):
            return Message(_ROLES.get(role, role), content)
    raise DataError(f"{where}: found the turn {turn!r:.80}; expected {{role: str, content: str}}")

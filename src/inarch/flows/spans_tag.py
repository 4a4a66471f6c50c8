"""``spans tag``: texts in, spans out, in order and with few texts in memory."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from inarch.errors import DataError, SettingsError
from inarch.io.models import pick_device
from inarch.settings import Settings
from inarch.spans.loading import Decoding, is_baseline, load_taggers
from inarch.spans.offsets import Span
from inarch.spans.read import read_labels
from inarch.spans.tagger import Decode
from inarch.spans.vote import StreamTagger

Format = Literal["auto", "text", "jsonl"]


class TagSettings(Settings):
    """How texts are tagged."""

    models: tuple[str, ...]
    """Folders that ``inarch spans train`` wrote; several vote on characters."""
    min_votes: int | None = None
    """Votes that keep a character; by default those of more than half of the models."""
    decode: Decode = "viterbi"
    """The most probable tags of a text as a whole, or every token above a threshold."""
    threshold: float | None = None
    """Probability above which ``posterior`` calls a token toxic; .5 by default."""
    device: Literal["auto", "cpu"] = "auto"


class Row(NamedTuple):
    """A text, and what else its row holds."""

    text: str
    others: dict[str, Any]


def tagger_of(settings: TagSettings) -> StreamTagger:
    """Return the tagger of one model, or the vote of several.

    Raises:
        SettingsError: A setting that has no effect, or no models.
        WeightsError: A folder holds no tagger.
    """
    if not settings.models:
        raise SettingsError("found no --model, expected a folder that `inarch spans train` wrote")
    if settings.min_votes is not None and len(settings.models) == 1:
        raise SettingsError("found --min-votes with one --model; give more models, or take it out")
    if settings.threshold is not None and settings.decode == "viterbi":
        raise SettingsError("found --threshold without --decode posterior; add it, or take it out")
    threshold = 0.5 if settings.threshold is None else settings.threshold
    if not 0 <= threshold <= 1:
        raise SettingsError(f"found --threshold {threshold}, expected a probability in [0, 1]")
    if settings.decode != "viterbi" and all(map(is_baseline, settings.models)):
        raise SettingsError("found --decode posterior with baselines alone; take it out")
    decoding = Decoding(settings.decode, threshold, pick_device(settings.device))
    return load_taggers(settings.models, settings.min_votes, decoding)


def tagged_rows(tagger: StreamTagger, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Give each row with its spans, in order: ``{"text", "spans", ...}``."""
    waiting: deque[Row] = deque()

    def texts() -> Iterator[str]:
        for row in rows:
            waiting.append(row)
            yield row.text

    for spans in tagger.tag_stream(texts()):
        row = waiting.popleft()
        yield {**row.others, "text": row.text, "spans": as_json(spans)}


def as_json(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Return spans as ``{"start", "end", "score", "text"}``."""
    return [
        {"start": span.start, "end": span.end, "score": round(span.score, 6), "text": span.text}
        for span in spans
    ]


def file_texts(path: Path, form: Format) -> Iterator[Row]:
    """Give the texts of a file: .csv as SemEval has it, JSONL, or one text per line.

    Raises:
        DataError: The file or a row of it cannot be read.
    """
    if path.suffix == ".csv" and form == "auto":
        yield from (Row(row.text or "", {"id": row.id}) for row in read_labels(path))
        return
    if form == "auto" and path.suffix in (".jsonl", ".txt"):
        form = "jsonl" if path.suffix == ".jsonl" else "text"
    try:
        with path.open("rb") as file:
            yield from line_texts(file, str(path), form)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def line_texts(lines: Iterable[bytes] | BinaryIO, name: str, form: Format) -> Iterator[Row]:
    """Give the texts of lines; ``auto`` asks the first that is not blank whether it is an object.

    Args:
        lines: UTF-8, each with its end, which is no part of the text.
        name: What errors call them.
        form: One text per line, or one JSON object with a ``text``.

    Raises:
        DataError: A line is no UTF-8, or no such object.
    """
    blank: list[Row] = []
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}:{number}: this is no UTF-8 ({error.reason})") from None
        line = line.removesuffix("\n").removesuffix("\r")
        if form == "auto" and not line.strip():
            blank.append(Row(line, {}))
            continue
        if form == "auto":
            form = "jsonl" if _is_object(line) else "text"
            yield from blank if form == "text" else ()
        if form == "text":
            yield Row(line, {})
        elif line.strip():
            yield _json_row(line, f"{name}:{number}")
    if form == "auto":
        yield from blank


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _json_row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: this line is no JSON ({error})") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise DataError(f'{where}: found no text, expected an object such as {{"text": "..."}}')
    return Row(row.pop("text"), row)

"""Toxic spans in the rows that language models learn from: texts, chats, preferences.

What counts against a row:

    a text         its spans
    a chat         those of its answers; ``where: all`` adds the turns before them
    a preference   those of its better answers that neither the prompt nor the rejected answer has,
                   compared as strings without regard to capitals and white space: a better answer
                   may quote, but it is not to bring such words in

Rows keep their number in the file as an id, and whatever is taken out of them is kept beside it, so
that all of it can be undone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import Field, PositiveInt

from inarch.errors import DataError
from inarch.settings import Settings, UnitFloat
from inarch.spans.fairness import IDENTITIES
from inarch.spans.offsets import Span
from inarch.spans.vote import StreamTagger
from inarch.spans.words import writable

Action = Literal["flag", "drop", "mask"]
Part = Literal["prompt", "answer", "rejected"]
Place = tuple[str | int, ...]
"""Keys and indices that lead to a text in a row."""
COLUMN = "screen"
"""Column that rows gain."""
_ANSWERS = ("text", "completion", "chosen")
_TURNS = ("messages", "conversations")


class ScreenSettings(Settings):
    """What is looked for, and what is done about it."""

    action: Action = "flag"
    """Keep rows and say what was found, leave rows out, or write something else over spans."""
    where: Literal["answers", "all"] = "answers"
    """Turns of chats that count; the others are looked at only where preferences need them."""
    min_score: UnitFloat = 0.0
    """Spans with less are overlooked."""
    min_chars: PositiveInt = 1
    """Spans with fewer characters are overlooked."""
    overlook: tuple[str, ...] = IDENTITIES
    """Words, in lower case: a span of nothing but these is overlooked. By default the names of
    groups, which taggers take for insults; see `inarch.spans.fairness`."""
    mask: str = Field(default="[…]", min_length=1)
    """What is written over a span."""
    group_by: str = "domain"
    """Column by which the report counts rows."""


class Text(NamedTuple):
    """One text of a row."""

    place: Place
    part: Part
    text: str


class Readable(NamedTuple):
    """One row, and its texts."""

    id: int
    """Its number in the file, from 0."""
    row: Mapping[str, Any]
    texts: Sequence[Text]
    """See `texts_of`."""


class Found(NamedTuple):
    """One span that counts against a row."""

    place: Place
    span: Span


class Screened(NamedTuple):
    """One row, and what counts against it."""

    id: int
    row: Mapping[str, Any]
    found: tuple[Found, ...]

    @property
    def flagged(self) -> bool:
        """Return whether anything counts against the row."""
        return bool(self.found)

    @property
    def is_chat(self) -> bool:
        """Return whether the row has turns, of which `ScreenSettings.where` says what counts."""
        has = {name for name, value in self.row.items() if value is not None}
        return not has.isdisjoint((*_TURNS, "prompt")) and "rejected" not in has


def screen(
    rows: Sequence[Readable], tagger: StreamTagger, settings: ScreenSettings
) -> list[Screened]:
    """Return what counts against each of some rows."""
    tagged = iter(tagger.tag_stream(text.text for row in rows for text in row.texts))
    made = []
    for row in rows:
        spans = [_counting(next(tagged), settings) for _ in row.texts]
        made.append(Screened(row.id, row.row, tuple(_against(row.texts, spans, settings))))
    return made


def texts_of(row: Any, where: str) -> list[Text]:
    """Return the texts of a row, in the order of its columns.

    Raises:
        DataError: It has none of the columns that hold texts, or something else in one.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: found {type(row).__name__}, expected an object with columns")
    if COLUMN in row:
        raise DataError(f"{where}: found the column {COLUMN!r}; was this file screened before?")
    parts: dict[str, Part] = dict.fromkeys(_ANSWERS, "answer")
    parts |= {"prompt": "prompt", "rejected": "rejected"}
    if "target" in row and "rejected" in row:  # elsewhere, these are a class and an origin
        parts |= {"source": "answer", "target": "answer"}
    found = [
        text
        for name, value in row.items()
        if value is not None
        for text in _texts(name, value, parts, where)
    ]
    if not found:
        raise DataError(
            f"{where}: found the columns {', '.join(map(str, row))}; expected text, messages, or"
            " prompt with answers"
        )
    return found


def _texts(name: str, value: Any, parts: Mapping[str, Part], where: str) -> Iterator[Text]:
    """Yield the texts of one column."""
    if name in _TURNS:
        turns = _listed(name, value, where)
        yield from (
            Text((name, i, *at), "answer" if _is_answer(turn) else "prompt", text)
            for i, turn in enumerate(turns)
            for at, text in _content(turn, f"{where}: {name}")
        )
    elif name in parts:
        part = parts[name]
        turns = value if isinstance(value, list | tuple) else [value]
        for i, turn in enumerate(turns):
            place = (name, i) if isinstance(value, list | tuple) else (name,)
            is_other = isinstance(turn, Mapping) and not _is_answer(turn)
            own: Part = "prompt" if is_other else part
            for at, text in _content(turn, f"{where}: {name}"):
                yield Text((*place, *at), own, text)


def _listed(name: str, value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise DataError(f"{where}: {name}: found {value!r:.60}; expected a list of turns")
    return value


def _content(turn: Any, where: str) -> Iterator[tuple[Place, str]]:
    """Yield the text of a turn, and the key to it."""
    if isinstance(turn, str):
        yield (), turn
        return
    key = "content" if isinstance(turn, Mapping) and "content" in turn else "value"
    if not isinstance(turn, Mapping) or not isinstance(turn.get(key), str):
        raise DataError(f"{where}: found {turn!r:.60}; expected a text, or a turn with content")
    yield (key,), turn[key]


def _is_answer(turn: Any) -> bool:
    return isinstance(turn, Mapping) and turn.get("role", turn.get("from")) in ("assistant", "gpt")


def _counting(spans: Iterable[Span], settings: ScreenSettings) -> list[Span]:
    known = set(settings.overlook)
    return [
        span
        for span in spans
        if span.score >= settings.min_score
        and span.end - span.start >= settings.min_chars
        and not known.issuperset(folded(span.text).split())
    ]


def _against(
    texts: Sequence[Text], spans: Sequence[Sequence[Span]], settings: ScreenSettings
) -> Iterator[Found]:
    """Yield the spans that count against a row."""
    pairs = list(zip(texts, spans, strict=True))
    is_pair = any(text.part == "rejected" for text in texts)
    known = {  # of preferences, all that prompt and rejected answer have: it counts nowhere
        folded(span.text)
        for text, found in pairs
        if is_pair and text.part != "answer"
        for span in found
    }
    for text, found in pairs:
        counts = text.part == "answer" or settings.where == "all"
        for span in found:
            if counts and folded(span.text) not in known:
                yield Found(text.place, span)


def folded(text: str) -> str:
    """Return a span's text by which it is compared and counted."""
    return " ".join(writable(text).casefold().split())


# ----------------------------------------------------------------------------- what is done


def with_report(screened: Screened) -> dict[str, Any]:
    """Return a row with a column that says its id and what was found."""
    spans = [
        {"place": list(place), "start": span.start, "end": span.end}
        | {"text": span.text, "score": span.score}
        for place, span in screened.found
    ]
    return {**screened.row, COLUMN: {"id": screened.id, "spans": spans}}


def masked(screened: Screened, mask: str) -> dict[str, Any]:
    """Return a row with a mask over what was found, and a column that says where it is now.

    The column does not hold what was there; the original is kept elsewhere, for `restored`.
    """
    row: dict[str, Any] = {**screened.row}
    report = []
    places = dict.fromkeys(found.place for found in screened.found)
    for place in places:
        spans = [found.span for found in screened.found if found.place == place]
        text, starts = mask_spans(_at(screened.row, place), spans, mask)
        row = _replaced(row, place, text)
        report += [{"place": list(place), "start": at, "end": at + len(mask)} for at in starts]
    return {**row, COLUMN: {"id": screened.id, "spans": report}}


def mask_spans(text: str, spans: Sequence[Span], mask: str) -> tuple[str, list[int]]:
    """Return a text with a mask over each span, and where the masks begin."""
    parts, starts, at, length = [], [], 0, 0
    for span in spans:
        parts += [text[at : span.start], mask]
        length += span.start - at
        starts.append(length)
        length += len(mask)
        at = span.end
    return "".join([*parts, text[at:]]), starts


def restored(rows: Iterable[Mapping[str, Any]], changed: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the rows of the file that was screened, in its order.

    Args:
        rows: What was kept, flagged, masked or not.
        changed: The originals of what was left out or masked.
    """
    by_id = {row[COLUMN]["id"]: row for row in (*rows, *changed)}
    return [
        row["row"]
        if row[COLUMN].get("skipped")
        else {name: value for name, value in row.items() if name != COLUMN}
        for _, row in sorted(by_id.items())
    ]


def _at(row: Any, place: Place) -> str:
    for key in place:
        row = row[key]
    return str(row)


def _replaced(value: Any, place: Place, text: str) -> Any:
    """Return a copy of nested values with another text at a place."""
    if not place:
        return text
    key, *rest = place
    if isinstance(value, Mapping):
        return {**value, key: _replaced(value[key], tuple(rest), text)}
    return [_replaced(v, tuple(rest), text) if i == key else v for i, v in enumerate(value)]

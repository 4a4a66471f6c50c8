"""Tagged posts for a reader: gold underlined, predictions highlighted, words under a veil."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.errors import DataError
from inarch.report._html import Markup, join, tag
from inarch.report._page import Part, paragraph
from inarch.report._words import count
from inarch.spans.errors import error_kinds
from inarch.spans.fairness import IDENTITIES
from inarch.spans.veil import Veil, marked_words

_LONGEST, _BEFORE = 1500, 200
"""Characters of a post that are shown, and how many of them before the first mark."""


REVEAL = tag("code", "inarch report --reveal")
_VEILED = join([
    "Of words that are marked, here or elsewhere in the file, one letter is left, as of those that "
    "the lexicon knows; others can be read. ",
    REVEAL, " shows all.",
])  # fmt: skip


class Posts(NamedTuple):
    """The worst posts of a file."""

    rows: Sequence[Mapping[str, Any]]
    """Those with a text, the worst first."""
    total: int
    veil: Veil
    """Of the words that are marked anywhere in the file."""


class Look(NamedTuple):
    """What a page shows of posts."""

    num_posts: int
    reveal: bool
    """Put the words in, too; otherwise the page holds veiled ones only."""


def worst(path: Path, num_posts: int, words: Iterable[str] = ()) -> Posts:
    """Return the posts with the lowest F1; of those alike, with the most wrong characters first.

    Args:
        path: ``scored.jsonl``.
        num_posts: At most so many.
        words: To veil beside those that are marked in the file.

    Raises:
        DataError: The file cannot be read, or a line of it is something else.
    """
    known = set(words).difference(IDENTITIES)
    total = 0

    def ranked() -> Iterator[tuple[float, int, int, Mapping[str, Any]]]:
        nonlocal total
        for number, row in enumerate(_rows(path)):
            total += 1
            if row["text"] is not None:
                known.update(marked_words(row["text"], _marks(row)))
                yield row["f1"], -_num_wrong(row), number, row

    rows = [row for *_, row in heapq.nsmallest(num_posts, ranked())]
    return Posts(rows, total, Veil(known))


def posts_view(posts: Posts, look: Look) -> list[Part]:
    """Return the posts, under a line that says what is seen."""
    if not posts.rows:
        return [paragraph("The files hold no texts, so there is nothing to show.", kind="note")]
    shown, total = count(len(posts.rows)), count(posts.total)
    legend = join([
        f"All {total}, the worst first. " if shown == total else f"The worst {shown} of {total}. ",
        tag("u", "Underlined"), ": gold. ",
        tag("mark", "Highlighted"), ": predicted, the score as its tooltip. ",
        tag("mark", tag("u", "Both")), ": right.",
    ])  # fmt: skip
    if look.reveal:
        box = Markup('<input type="checkbox" id="veil">')
        over = tag("label", box, " Veil the marked words, as for a screenshot")
    else:
        over = Markup("")
    items = [_item(row, posts.veil, look.reveal) for row in posts.rows]
    return [
        paragraph(legend),
        paragraph(over or _VEILED, kind=None if over else "note"),
        tag("ol", *items, class_="posts"),
    ]


def _item(row: Mapping[str, Any], veil: Veil, reveal: bool) -> Markup:
    text = row["text"]
    start, end = _window(row)
    veiled = veil.over(text, _marks(row))
    shown = [tag("p", *_marked(row, veiled, start, end), class_="post veiled", dir="auto")]
    if reveal:
        shown.append(tag("p", *_marked(row, text, start, end), class_="post bare", dir="auto"))
    cut = f" · {count(end - start)} of {count(len(text))} characters" * (end - start < len(text))
    return tag("li", *shown, tag("p", _told(row) + cut, class_="note"))


def _told(row: Mapping[str, Any]) -> str:
    """Return the kinds of mistakes in a post, its F1 and its id."""
    predicted, gold = ([_offsets(row[side])] for side in ("predicted", "gold"))
    kinds = [f"{kind} {num}" for kind, num in error_kinds(predicted, gold).items() if num]
    return f"F1 {row['f1']:.2f} · {', '.join(kinds) or 'no span'} · post {row['id']}"


def _marked(row: Mapping[str, Any], text: str, start: int, end: int) -> Iterator[object]:
    """Yield a part of a text, cut where a mark begins or ends."""
    gold = {at for first, last in row["gold"] for at in range(first, last)}
    scores = {at: s for first, last, s in row["predicted"] for at in range(first, last)}
    if start:
        yield "… "
    at = start
    while at < end:
        kind = at in gold, at in scores, scores.get(at)
        stop = at + 1
        while stop < end and (stop in gold, stop in scores, scores.get(stop)) == kind:
            stop += 1
        piece: object = text[at:stop]
        if kind[0]:
            piece = tag("u", piece)
        if kind[1]:
            piece = tag("mark", piece, title=None if kind[2] is None else f"score {kind[2]:.2f}")
        yield piece
        at = stop
    if end < len(text):
        yield " …"


def _window(row: Mapping[str, Any]) -> tuple[int, int]:
    """Return the part of a text that is shown: all, or some around the first mark."""
    length = len(row["text"])
    first = min((start for start, _ in _marks(row)), default=0)
    start = 0 if length <= _LONGEST else max(0, min(first - _BEFORE, length - _LONGEST))
    return start, min(length, start + _LONGEST)


def _marks(row: Mapping[str, Any]) -> list[tuple[int, int]]:
    return [(span[0], span[1]) for side in ("gold", "predicted") for span in row[side]]


def _offsets(spans: Sequence[Sequence[Any]]) -> set[int]:
    return {at for span in spans for at in range(span[0], span[1])}


def _num_wrong(row: Mapping[str, Any]) -> int:
    return len(_offsets(row["gold"]) ^ _offsets(row["predicted"]))


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield _row(line, f"{path}:{number}")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _row(line: str, where: str) -> Mapping[str, Any]:
    try:
        row: Mapping[str, Any] = json.loads(line)
        _marks(row), row["f1"] + 0.0, row["id"], row["text"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{where}: this is no post with its spans ({error!r}); run the command that wrote it"
            " again"
        ) from None
    return row

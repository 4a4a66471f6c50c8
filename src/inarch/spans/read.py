"""Posts with the characters that make them toxic, and predictions for them, from files.

    .csv                    ``spans`` (a Python list of characters) and ``text``, as SemEval has it
    .jsonl .json .parquet   ``{"text": ..., "spans": ...}``; spans are one of
                            [3, 4, 5]                      characters
                            [[3, 6]]                       ranges, end exclusive
                            [{"start": 3, "end": 6}]       the same; what `inarch spans tag` writes
    .txt .tsv               ``id<TAB>[3, 4, 5]``, the ``spans-pred.txt`` of SemEval; no texts

A column ``id`` names a row; without it, its number from 0 does. One file holds spans of one kind.
Outside of .csv and .txt, two separate numbers, [3, 6], could be characters or a range: refused.

Source:   the files and the scorer of SemEval-2021 Task 5 (docs/methods/spans.md).
Differs:  the released system reads UTF-8 as Latin-1, and words such as "NA" as missing.
"""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inarch.data import file_rows
from inarch.errors import DataError
from inarch.io.files import write_text
from inarch.spans._parse import (
    BROKEN,
    BadRow,
    Kind,
    check_inside,
    parse_scores,
    parse_spans,
    refuse_ambiguous,
)
from inarch.spans.calibration import Scored
from inarch.spans.official import tell_if_changed

_CHARACTERS_ONLY = (".csv", ".txt", ".tsv")
"""Kinds of files in which a flat list is one of characters, as SemEval defines them."""


class Post(NamedTuple):
    """A text and the characters that make it toxic."""

    text: str
    offsets: tuple[int, ...]
    """Increasing, in code points; as they stand in the file, white space included."""


class Labels(NamedTuple):
    """One row of a file."""

    id: str
    text: str | None
    """None where the file has none."""
    offsets: tuple[int, ...]
    """As in `Post`."""
    where: str
    """``file row n`` or ``file:line``, for messages."""
    scored: tuple[Scored, ...] = ()
    """Start, end and score of each span, where all of them have one."""


def read_posts(path: str | Path, skipped: Counter[str] | None = None) -> list[Post]:
    """Return the posts of a file, in its order.

    Args:
        path: A file of one of the kinds above that holds texts.
        skipped: Counts the rows that are wrong, which are left out; None to stop at the first.

    Raises:
        DataError: The file is absent or has no texts, or a row is wrong; the row is named.
    """
    posts = []
    for row in read_labels(path, skipped):
        if row.text is None:
            raise DataError(
                f"{row.where}: found no text; expected a .csv or .jsonl file with texts"
            )
        posts.append(Post(row.text, row.offsets))
    return posts


def read_labels(path: str | Path, skipped: Counter[str] | None = None) -> list[Labels]:
    """Return the rows of a file, in its order; see `read_posts`.

    A file with the name of an official one and another content is told as a warning.

    Raises:
        DataError: The file is absent, or a row is wrong; the row is named.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: found no such file; expected .csv, .jsonl or spans-pred.txt")
    tell_if_changed(path)
    rows: list[Labels] = []
    places: dict[str, str] = {}
    first: tuple[Kind, str] | None = None
    for number, (where, row) in enumerate(_raw_rows(path)):
        try:
            kind, labels = _labels(row, where, number, flat=path.suffix in _CHARACTERS_ONLY)
            if labels.id in places:
                told = f"found the id {labels.id!r}, which {places[labels.id]} has already"
                raise BadRow("rows whose id was there before", told)
        except BadRow as problem:
            if skipped is None:
                raise DataError(f"{where}: {problem}") from None
            skipped[problem.reason] += 1
            continue
        if kind != "nothing":
            first = first or (kind, where)
            if kind != first[0]:
                raise DataError(
                    f"{where}: spans: found {kind}, but {first[0]} in {first[1]}; expected one kind"
                )
        places[labels.id] = where
        rows.append(labels)
    return rows


def read_predictions(
    path: str | Path, gold: Sequence[Labels], skipped: Counter[str] | None = None
) -> list[tuple[int, ...]]:
    """Return the predicted characters for every row of `gold`; see `read_predicted`."""
    return [row.offsets for row in read_predicted(path, gold, skipped)]


def read_predicted(
    path: str | Path, gold: Sequence[Labels], skipped: Counter[str] | None = None
) -> list[Labels]:
    """Return the predictions for every row of `gold`, in its order; ids match.

    Args:
        path: A file of one of the kinds above.
        gold: What the predictions are for.
        skipped: Counts what is wrong: a post without a usable prediction has an empty one, as for
            the official scorer, and predictions for other posts are left out. None to stop there.

    Raises:
        DataError: A row is wrong, ids are missing or not of `gold`, or an offset is outside of its
            text; or, counted or not, a text is another than in `gold`.
    """
    rows = {row.id: row for row in read_labels(path, skipped)}
    strange = [rows[key] for key in rows.keys() - {row.id for row in gold}]
    missing = [row.id for row in gold if row.id not in rows]
    if skipped is not None:
        skipped["predictions for no gold post"] += len(strange)
        skipped["posts without a usable prediction"] += len(missing)
    elif strange:
        raise DataError(
            f"{strange[0].where}: found the id {strange[0].id!r}, which none of the {len(gold)}"
            f" gold posts has; {len(strange)} such rows"
        )
    elif missing:
        raise DataError(
            f"{path}: found no prediction for {len(missing)} of {len(gold)} posts, the first with"
            f" the id {missing[0]!r}; expected one for each, [] for no span"
        )
    nothing = Labels("", None, (), str(path))
    return [_matching(rows[row.id], row, skipped) if row.id in rows else nothing for row in gold]


def write_predictions(path: Path, offsets: Iterable[Iterable[int]]) -> None:
    """Write ``spans-pred.txt``: per post its number, a tab and the list of its characters."""
    lines = (f"{number}\t{sorted(set(row))}\n" for number, row in enumerate(offsets))
    write_text(path, "".join(lines))


def without(posts: Sequence[Post], held_out: Iterable[Post], *, fold: bool = False) -> list[Post]:
    """Return the posts whose text is none of those held out; 8 of train's are in trial too.

    Args:
        posts: To train on.
        held_out: To choose or to test on.
        fold: Overlook capitals, and white space around a text.
    """

    def key(text: str) -> str:
        return text.strip().lower() if fold else text

    texts = {key(post.text) for post in held_out}
    return [post for post in posts if key(post.text) not in texts]


def _labels(row: Any, where: str, number: int, *, flat: bool) -> tuple[Kind, Labels]:
    """Return a row, and what its spans are made of."""
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping) or "spans" not in row:
        found = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
        raise BadRow("rows without spans", f"found {found}; expected text and spans")
    text = row.get("text")
    if text is not None and not isinstance(text, str):
        raise BadRow("rows without a text", f"text: found {text!r:.60}; expected a string")
    if not flat:
        refuse_ambiguous(row["spans"])
    kind, offsets = parse_spans(row["spans"], text)
    key = number if row.get("id") is None else row["id"]
    return kind, Labels(str(key), text, offsets, where, parse_scores(row["spans"]))


def _raw_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield rows with their places; a row that cannot be one is a `BadRow`."""
    match path.suffix:
        case ".csv":
            return _csv_rows(path)
        case ".txt" | ".tsv":
            return _prediction_rows(path)
        case _:
            return file_rows(str(path))


def _csv_rows(path: Path) -> Iterator[tuple[str, Any]]:
    header, *rows = _csv_lists(path) or [[]]
    if not {"spans", "text"} <= set(header) or len(set(header)) < len(header):
        raise DataError(
            f"{path}: found the columns {', '.join(header)}; expected spans and text (SemEval's"
            " tsd_test.csv was first released without spans)"
        )
    for number, row in enumerate(rows):
        if len(row) == len(header):
            yield f"{path} row {number}", dict(zip(header, row, strict=True))
        else:
            told = f"found {len(row)} columns; expected {len(header)}: {', '.join(header)}"
            yield f"{path} row {number}", BadRow("rows with other columns", told)


def _csv_lists(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file that are not blank; a quoted text may span lines."""
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    try:
        return [row for row in reader if row]
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num}: not CSV ({error}); was the file cut? Quotes within a"
            " quoted text are doubled"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _prediction_rows(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if line.strip():
            key, tab, spans = line.partition("\t")
            told = f"found {line!r:.60}; expected an id, a tab and a list of characters"
            row = {"id": key.strip(), "spans": spans} if tab else BadRow(BROKEN, told)
            yield f"{path}:{number}", row


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8; convert it: iconv -t UTF-8"
        ) from None


def _matching(row: Labels, gold: Labels, skipped: Counter[str] | None) -> Labels:
    """Return a prediction that is for a gold post."""
    if row.text is not None and gold.text is not None and row.text != gold.text:
        raise DataError(
            f"{row.where}: found another text than {gold.where} has for the id {row.id!r};"
            " expected predictions for the same texts"
        )
    try:
        check_inside(row.offsets, gold.text)
    except BadRow as problem:
        if skipped is None:
            raise DataError(f"{row.where}: {problem}") from None
        skipped.update((problem.reason, "posts without a usable prediction"))
        return row._replace(offsets=(), scored=())
    return row

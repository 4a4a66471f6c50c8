"""The flow behind ``inarch spans screen``: toxic spans in the rows that a model is to learn from.

The run folder holds

    screened.jsonl   the rows that stay, with a column ``screen``: their id and their spans
    changed.jsonl    the originals of those that were left out or masked, with theirs; under
                     ``row`` what could not be screened
    report.json      how many rows were flagged, by the column ``group_by``; the commonest strings;
                     ``identities``: of sentences that only name a group, how many get a span,
                     and the names among them that are ``overlooked``; how many rows are ``chats``,
                     and ``where`` in them spans count

`inarch.spans.screen.restored` makes the file that was screened out of the first two.
"""

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from inarch.data import file_rows
from inarch.errors import DataError
from inarch.flows._corpus import data_digest
from inarch.io.files import digest_folder, remove, write_atomic, write_json
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.settings import to_dict
from inarch.spans.fairness import identity_rates
from inarch.spans.loading import load_taggers
from inarch.spans.screen import (
    COLUMN,
    Readable,
    Screened,
    ScreenSettings,
    folded,
    masked,
    screen,
    texts_of,
    with_report,
)
from inarch.spans.vote import StreamTagger

logger = logging.getLogger(__name__)

__all__ = ["ScreenSettings", "plan", "run"]

_ROWS_AT_ONCE = 4096
_TRIED = 256
"""Rows that a plan is measured on."""
_COMMONEST = 100
"""Strings in the report."""

Rows = Sequence[tuple[int, str, Any]]
"""Ids, places in the file, and what stands there."""


class _Sorted(NamedTuple):
    """What becomes of some rows."""

    kept: list[Mapping[str, Any]]
    changed: list[Mapping[str, Any]]


def run(
    data: str,
    models: Sequence[str],
    out: Path,
    settings: ScreenSettings,
    *,
    min_votes: int | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Return the report of a screening; the rows are in the run folder.

    Args:
        data: A .jsonl, .json, .parquet or .txt file, or the id of a dataset of the hub.
        models: Folders of taggers; several vote.
        out: The run folder.
        settings: What is looked for, and what is done about it.
        min_votes: Votes of several models; None for a strict majority.
        skip_bad: Leave out rows that hold no text, and count them, instead of stopping there.

    Raises:
        DataError: The file cannot be read, or a row holds no text; it is named.
        WeightsError: A folder holds no tagger.
    """
    own = to_dict(settings) | {"min_votes": min_votes, "skip_bad": skip_bad}
    inputs = {"data": data_digest(data)}
    inputs |= {f"model {i}": digest_folder(model) for i, model in enumerate(models)}
    with stage(out, "screen", own, inputs) as opened:
        if opened.done:
            logger.info("%s is complete; nothing to do", out)
        else:
            tagger = load_taggers(models, min_votes)
            with track(f"screening {data}", None, "rows") as advance:
                for number, rows in enumerate(_chunks(data)):
                    folder = out / "parts" / f"{number:06d}"
                    if not folder.exists():
                        _screen_part(folder, rows, tagger, settings, skip_bad)
                    advance(len(rows))
            report = _join(out, settings, identity_rates(tagger))
            opened.note(**{name: report[name] for name in ("rows", "flagged", "skipped")})
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def plan(
    data: str,
    models: Sequence[str],
    settings: ScreenSettings,
    *,
    min_votes: int | None = None,
    skip_bad: bool = False,
) -> dict[str, object]:
    """Return how many rows there are and how long they take, from the first few of them.

    Raises:
        DataError: The file cannot be read, or one of the first rows holds no text.
        WeightsError: A folder holds no tagger.
    """
    rows = [(i, where, row) for i, (where, row) in enumerate(islice(file_rows(data), _TRIED))]
    tagger = load_taggers(models, min_votes)
    begun = time.perf_counter()
    _screened(rows, tagger, settings, Counter() if skip_bad else None)
    took_s = time.perf_counter() - begun
    num_rows = sum(1 for _ in file_rows(data))
    return {
        "rows": num_rows,
        "time": f"{took_s * num_rows / max(len(rows), 1):.0f} s, from the first {len(rows)} rows",
    }


def _chunks(data: str) -> Iterator[Rows]:
    rows = ((number, where, row) for number, (where, row) in enumerate(file_rows(data)))
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        yield chunk


def _screen_part(
    folder: Path, rows: Rows, tagger: StreamTagger, settings: ScreenSettings, skip_bad: bool
) -> None:
    """Write what becomes of some rows, and their counts, in one piece."""
    skipped: Counter[str] | None = Counter() if skip_bad else None
    screened = _screened(rows, tagger, settings, skipped)
    kept, changed = _sorted(screened, settings)
    known = {row.id for row in screened}
    changed += [_as_it_was(number, row) for number, _, row in rows if number not in known]
    folder.parent.mkdir(exist_ok=True)
    with write_atomic(folder) as temp:
        temp.mkdir()
        _write_rows(temp / "screened.jsonl", kept)
        _write_rows(temp / "changed.jsonl", changed)
        write_json(temp / "counts.json", _counts(screened, settings) | {"skipped": skipped or {}})


def _screened(
    rows: Rows, tagger: StreamTagger, settings: ScreenSettings, skipped: Counter[str] | None
) -> list[Screened]:
    readable = []
    for number, where, row in rows:
        try:
            readable.append(Readable(number, row, texts_of(row, where)))
        except DataError:
            if skipped is None:
                raise
            skipped["rows without a text, or with something else in its place"] += 1
    return screen(readable, tagger, settings)


def _sorted(screened: Sequence[Screened], settings: ScreenSettings) -> _Sorted:
    kept: list[Mapping[str, Any]] = []
    changed: list[Mapping[str, Any]] = []
    for row in screened:
        if row.flagged and settings.action == "mask":
            kept.append(masked(row, settings.mask))
        elif not row.flagged or settings.action == "flag":
            kept.append(with_report(row))
        if row.flagged and settings.action != "flag":
            changed.append(with_report(row))
    return _Sorted(kept, changed)


def _as_it_was(number: int, row: Any) -> Mapping[str, Any]:
    """Return a row that could not be screened, whatever it is, as one of those left out."""
    return {"row": row, COLUMN: {"id": number, "spans": [], "skipped": True}}


def _counts(screened: Sequence[Screened], settings: ScreenSettings) -> dict[str, Any]:
    groups: dict[str, dict[str, int]] = {}
    strings: Counter[str] = Counter()
    for row in screened:
        name = str(row.row.get(settings.group_by) or "")
        group = groups.setdefault(name, {"rows": 0, "flagged": 0, "spans": 0})
        group["rows"] += 1
        group["flagged"] += row.flagged
        group["spans"] += len(row.found)
        strings.update(folded(span.text) for _, span in row.found)
    num_chats = sum(row.is_chat for row in screened)
    return {"groups": groups, "strings": dict(strings), "chats": num_chats}


def _join(out: Path, settings: ScreenSettings, identities: Mapping[str, float]) -> dict[str, Any]:
    """Make one file of each kind out of the parts, and the report."""
    parts = sorted((out / "parts").glob("[0-9]*"))
    groups: dict[str, Counter[str]] = {}
    strings: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    num_chats = 0
    for part in parts:
        counts = json.loads((part / "counts.json").read_text(encoding="utf-8"))
        strings.update(counts["strings"])
        skipped.update(counts["skipped"])
        num_chats += counts.get("chats", 0)  # parts of an older run lack it
        for name, numbers in counts["groups"].items():
            groups.setdefault(name, Counter()).update(numbers)
    total = sum(groups.values(), Counter())
    report = {
        "action": settings.action,
        **{name: total[name] for name in ("rows", "flagged", "spans")},
        "groups": {name: dict(groups[name]) for name in sorted(groups)},
        "strings": [list(pair) for pair in _commonest(strings)],
        "skipped": dict(skipped),
        "identities": dict(identities),
        "overlooked": [name for name in identities if name in settings.overlook],
        "where": settings.where,
        "chats": num_chats,
    }
    for name in ("screened.jsonl", "changed.jsonl"):
        with write_atomic(out / name) as temp, temp.open("wb") as whole:
            for part in parts:
                with (part / name).open("rb") as rows:
                    shutil.copyfileobj(rows, whole)
    write_json(out / "report.json", report)
    remove(out / "parts")
    return report


def _commonest(strings: Counter[str]) -> list[tuple[str, int]]:
    return sorted(strings.items(), key=lambda pair: (-pair[1], pair[0]))[:_COMMONEST]


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_bytes(b"".join(map(_line, rows)))


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return f"{json.dumps(row, ensure_ascii=False)}\n".encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can hold
        return f"{json.dumps(row)}\n".encode()

"""The page of `inarch evaluate`: a leaderboard per protocol, and how far judges agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from inarch.evaluate.leaderboard import Leaderboard, leaderboards
from inarch.evaluate.protocol import CANARY, FORMAT, Result, differences, load_result
from inarch.report._evaluate_board import board_parts
from inarch.report._evaluate_judges import (
    judges_parts,
    style_parts,
    trust_parts,
    warning_parts,
)
from inarch.report._evaluate_scales import scale_of, title_of
from inarch.report._html import Markup, table, tag
from inarch.report._page import Page, Part, heading, paragraph
from inarch.report._runs import read_json
from inarch.report._words import count

JUDGING = "judging.json"
"""What a live run notes of its judges."""

_DEPTH = 4
"""Folders below the one that is named in which results are looked for."""


def evaluations(folder: Path) -> list[Path]:
    """Return the results of `inarch evaluate` in a folder and those below it, by their paths."""
    return sorted(path for path in _files(folder, _DEPTH) if FORMAT in _start(path))


def evaluate_page(folder: Path, paths: Sequence[Path]) -> Page:
    """Return the page of some results.

    Args:
        folder: Where they are.
        paths: As `evaluations` returns them.

    Raises:
        DataError: A result cannot be read.
    """
    results = {path.relative_to(folder).as_posix(): load_result(path) for path in paths}
    models = {place: one for place, one in results.items() if one.model != CANARY}
    boards = leaderboards(_told_apart(models or results))
    titles = _titles(boards)
    told = read_json(folder / JUDGING) if (folder / JUDGING).is_file() else None
    parts: list[Part] = [] if told is None else warning_parts(told)
    parts += _overview(boards, titles) if len(boards) > 1 else []
    for number, (board, title) in enumerate(zip(boards, titles, strict=True)):
        parts += [heading(title), *_other_protocol(boards[:number], titles, board)]
        parts += board_parts(board)
    if told is not None:
        parts += [*style_parts(told), *trust_parts(told)]
    parts += judges_parts(list(results.values()))
    return Page(f"Evaluation: {folder.resolve().name}", parts)


def _files(folder: Path, depth: int) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_dir() and depth and not entry.is_symlink() and entry.name[0] != ".":
            yield from _files(entry, depth - 1)
        elif entry.suffix == ".json" and entry.is_file():
            yield entry


def _start(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(100)


def _told_apart(results: Mapping[str, Result]) -> list[Result]:
    """Return the results, a model with the place of its file where one protocol has it twice."""
    keys = {place: (one.protocol.model_dump_json(), one.model) for place, one in results.items()}
    times = Counter(keys.values())
    return [
        one._replace(model=f"{one.model} ({place})") if times[keys[place]] > 1 else one
        for place, one in results.items()
    ]


def _titles(boards: Sequence[Leaderboard]) -> list[str]:
    """Return what each leaderboard is called, with a number where two have one name."""
    names = [title_of(board.protocol) for board in boards]
    times = Counter(names)
    return [
        f"{name}, protocol {names[: number + 1].count(name)}" if times[name] > 1 else name
        for number, name in enumerate(names)
    ]


def _overview(boards: Sequence[Leaderboard], titles: Sequence[str]) -> list[Part]:
    rows = []
    for board, title in zip(boards, titles, strict=True):
        scale, first = scale_of(board.protocol), board.standings[0]
        best = f"{first.result.model}, {scale.form(first.whole.mean)}"
        rows.append((title, scale.score, count(len(board.standings)), best))
    told = (
        f"{count(len(boards))} protocols: scores under one do not compare with those under another,"
        " so each has a leaderboard of its own."
    )
    shown = table(("protocol", "score", "models", "first"), rows, "Leaderboards")
    return [paragraph(told, kind="lead"), tag("div", shown, class_="words")]


def _other_protocol(
    before: Sequence[Leaderboard], titles: Sequence[str], board: Leaderboard
) -> list[Markup]:
    """Return in what a leaderboard differs from the one above that is most like it."""
    apart = [
        (differences(other.protocol, board.protocol), title)
        for other, title in zip(before, titles, strict=False)
        if other.protocol.benchmark == board.protocol.benchmark
    ]
    if not apart:
        return []
    found, title = min(apart, key=lambda pair: len(pair[0]))
    told = paragraph(f"Not to be compared with “{title}”:", kind="note")
    return [told, tag("ul", *(tag("li", line) for line in found), class_="note")]

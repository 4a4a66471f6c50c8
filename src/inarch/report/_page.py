"""A page: parts in order, written as one HTML file, and its plots as files beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inarch import __version__
from inarch.io.files import write_atomic
from inarch.report._html import Markup, join, table, tag
from inarch.report._style import COLOURS, MARKS, PAGE
from inarch.report._svg import Figure, inline, standalone
from inarch.report._words import leaves

Part = Markup | tuple[Figure, ...]
"""Something in a page's column; figures in one tuple stand side by side where there is room."""


class Page(NamedTuple):
    """What a report says."""

    title: str
    parts: Sequence[Part]


def write(page: Page, path: Path, plots: Path | None) -> None:
    """Write the page as one file without links to others, and its plots into a folder of their own.

    Args:
        page: What to write.
        path: The HTML file.
        plots: The folder; what an earlier report left there goes. None: the page alone is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if plots is not None:
        _write_plots(page, plots)
    with write_atomic(path) as temp:
        temp.write_text(_document(page), encoding="utf-8")


def _write_plots(page: Page, plots: Path) -> None:
    figures = [figure for part in page.parts if isinstance(part, tuple) for figure in part]
    with write_atomic(plots) as temp:
        temp.mkdir(parents=True)
        for number, figure in enumerate(figures, 1):
            file = temp / f"{number:02d}-{figure.name}.svg"
            file.write_text(standalone(figure), encoding="utf-8")


def heading(text: str, level: int = 2) -> Markup:
    """Return the heading of a section, or of level 3 that of a part of one."""
    return tag(f"h{level}", text)


def paragraph(*children: object, kind: str | None = None) -> Markup:
    """Return a paragraph; of kind ``warn`` it cannot be overlooked."""
    return tag("p", *children, class_=kind)


def slug(name: str) -> str:
    """Return a name as a part of a file's name."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:40] or "x"


def figures_of(facts: Mapping[str, object]) -> Markup:
    """Return the few numbers that matter most, each under its name."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()),
    )


def fold(summary: str, *children: object) -> Markup:
    """Return what only some readers want, behind a line that opens it."""
    return tag("details", tag("summary", summary), *children)


def settings_table(caption: str, settings: Mapping[str, object]) -> Markup:
    """Return every setting under its dotted key."""
    rows = list(leaves(settings).items())
    return tag("div", table(["setting", "value"], rows, caption), class_="words long")


def _document(page: Page) -> str:
    parts = [
        tag("div", *map(inline, part), class_="plots") if isinstance(part, tuple) else part
        for part in page.parts
    ]
    head = [
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<link rel="icon" href="data:,">'),
        tag("title", page.title),
        tag("style", Markup(COLOURS + PAGE + MARKS)),
    ]
    foot = paragraph(f"Written by inarch {__version__} from the files of the run.", kind="note")
    body = tag("body", tag("main", tag("h1", page.title), join(parts), tag("footer", foot)))
    return f"<!doctype html>\n{tag('html', tag('head', *head), body, lang='en')}\n"

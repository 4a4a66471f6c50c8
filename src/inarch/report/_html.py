"""HTML and SVG by construction: text is escaped wherever it enters, so no name can break a page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_UNFIT_FOR_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: Such as ``"p"``.
        children: `Markup` stands as it is, anything else is escaped; None is left out.
        attributes: ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``; None is
            left out.
    """
    inside = "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{name}{inside}>{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Markup:
    """Return the parts one after the other, each escaped unless it is `Markup`."""
    return Markup("".join(_escaped(part) for part in parts if part is not None))


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    caption: str,
    note: object = None,
) -> Markup:
    """Return a table that scrolls sideways where the screen is narrow.

    Args:
        head: Names of the columns.
        rows: Cells; the first of each row is its name, the others are numbers as text.
        caption: What is shown.
        note: A line below.
    """
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in rows
    ]
    inner = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))),
        tag("tbody", *body),
    )
    scroll = tag("div", inner, class_="scroll", role="region", aria_label=caption, tabindex=0)
    return join([scroll, note and tag("p", note, class_="note")])


def _attribute(key: str, value: object) -> str:
    if value is None:
        return ""
    return f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'


def _escaped(part: object) -> str:
    if isinstance(part, Markup):
        return part
    return html.escape(_UNFIT_FOR_XML.sub("\ufffd", str(part)))

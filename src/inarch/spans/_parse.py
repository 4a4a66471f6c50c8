"""The toxic characters of one row, in any of the forms in which files write them."""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Kind = Literal["nothing", "characters", "ranges"]

BROKEN = "rows whose spans are no list of characters or ranges"
_OUTSIDE = "rows with spans outside the text"
_LONGEST = 2**24
"""Characters of a text that is not known, at most."""


class BadRow(Exception):
    """A row that is wrong."""

    def __init__(self, reason: str, told: str) -> None:
        self.reason = reason
        """The same for all rows that are wrong in this way, to count them by."""
        super().__init__(told)


def parse_spans(spans: Any, text: str | None) -> tuple[Kind, tuple[int, ...]]:
    """Return what a list of spans is made of, and the characters, increasing.

    Args:
        spans: As the file has it: a list, or the text of one in Python or JSON.
        text: Of the post; None if it is not known.

    Raises:
        BadRow: It is no such list, or is not within the text.
    """
    if isinstance(spans, str):
        spans = _evaluated(spans)
    if not isinstance(spans, list | tuple):
        raise BadRow(BROKEN, f"spans: found {spans!r:.80}; expected a list")
    if not spans:
        return "nothing", ()
    if all(map(_is_int, spans)):
        offsets = tuple(sorted(set(spans)))
        check_inside(offsets, text)
        return "characters", offsets
    found: set[int] = set()
    for span in spans:
        found |= _characters(span, text)
    return "ranges", tuple(sorted(found))


def parse_scores(spans: Any) -> tuple[tuple[int, int, float], ...]:
    """Return start, end and score of spans that `parse_spans` has read; nothing if one has none."""
    if not isinstance(spans, list | tuple) or not all(isinstance(s, Mapping) for s in spans):
        return ()
    scores = [span.get("score") for span in spans]
    if not all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores):
        return ()
    ranges = [(span["start"], span["end"]) for span in spans]
    return tuple((*r, float(s)) for r, s in sorted(zip(ranges, scores, strict=True)))


def refuse_ambiguous(spans: Any) -> None:
    """Refuse two separate numbers, which could be two characters or the ends of a range.

    Raises:
        BadRow: Says how to write the one and the other.
    """
    if isinstance(spans, list) and len(spans) == 2 and all(map(_is_int, spans)):
        a, b = spans
        if b - a > 1:
            raise BadRow(
                "rows whose spans are ambiguous",
                f"spans: found {spans}, which could be two characters or one range; write"
                f" [[{a}, {b}]] for the range, [[{a}, {a + 1}], [{b}, {b + 1}]] for the characters",
            )


def check_inside(offsets: Sequence[int], text: str | None) -> None:
    """Refuse characters outside their text.

    Raises:
        BadRow: Says which there are, and how long the text is.
    """
    if offsets and (offsets[0] < 0 or offsets[-1] >= (_LONGEST if text is None else len(text))):
        of = "a text" if text is None else f"a text of {len(text)}"
        raise BadRow(
            _OUTSIDE,
            f"spans: found characters {offsets[0]} to {offsets[-1]} of {of}; expected code points"
            " within it, counted from 0",
        )


def _evaluated(spans: str) -> Any:
    for evaluate in (ast.literal_eval, json.loads):
        try:
            return evaluate(spans.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    raise BadRow(BROKEN, f"spans: found {spans!r:.80}; expected a list")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _characters(span: Any, text: str | None) -> set[int]:
    """Return the characters of one range."""
    start: Any = None
    end: Any = None
    quoted = None
    if isinstance(span, Mapping):
        start, end, quoted = span.get("start"), span.get("end"), span.get("text")
    elif isinstance(span, list | tuple) and len(span) == 2:
        start, end = span
    if not (_is_int(start) and _is_int(end) and start < end):
        told = f"spans: found {span!r:.80}; expected a start and an end that is greater"
        raise BadRow(BROKEN, told)
    check_inside((start, end - 1), text)
    if text is not None and quoted is not None and quoted != text[start:end]:
        raise BadRow(
            "rows whose spans quote another text",
            f"spans: found the text {quoted!r:.40} for {start} to {end}, where the post has"
            f" {text[start:end]!r:.40}; expected ends that are exclusive, in code points",
        )
    return set(range(start, end))

"""Numbers as a reader wants them."""

import json
from collections.abc import Iterable, Mapping


def count(number: float) -> str:
    """Return a whole number with commas."""
    return f"{number:,.0f}"


def compact(number: float) -> str:
    """Return a large number with its unit: 876,032 is ``0.88 M``."""
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if number >= size / 10:
            return f"{number / size:.2f} {unit}"
    return count(number)


def percent(share: float, digits: int = 1) -> str:
    """Return a share as per cent."""
    return f"{100 * share:.{digits}f}%"


def points(difference: float) -> str:
    """Return a difference of two shares in percentage points, with its sign."""
    return signed(100 * difference)


def signed(number: float, digits: int = 1) -> str:
    """Return a number with its sign; what rounds to zero has none."""
    text = f"{number:+.{digits}f}"
    return text[1:] if not text.strip("+-0.") else text.replace("-", "−")


def duration(seconds: float) -> str:
    """Return a time in the two units that matter."""
    if round(seconds) < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def listed(words: Iterable[str]) -> str:
    """Return words as a sentence lists them."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def leaves(value: object, name: str = "") -> dict[str, str]:
    """Return every leaf of nested settings under its dotted key, as a reader would write it."""
    if isinstance(value, Mapping) and value:
        items = [leaves(inner, f"{name}.{key}" if name else key) for key, inner in value.items()]
        return {key: leaf for item in items for key, leaf in item.items()}
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return leaves({str(number): item for number, item in enumerate(value)}, name)
    return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}

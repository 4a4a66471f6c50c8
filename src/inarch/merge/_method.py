"""What the table of methods holds."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from inarch.merge._stack import Rule, Stack
from inarch.settings import Settings


class Method(NamedTuple):
    """A merge method: its function, its settings, and what it wants with a base model."""

    function: Callable[[Stack, Any], Rule]
    settings: type[Settings]
    base: Literal["required", "optional", "none"]
    least: int = 1
    """Models that it needs beside the base."""
    most: int | None = None
    """Models that it takes beside the base; None: any number."""

"""What an Arena-Hard judge says: the label of a game, and what it counts for.

Source:  lmarena/arena-hard-auto: gen_judgment.py and show_result.py at 0489bf3 for v0.1, at 196f6b8
         for v2.
Differs: under v2 a label that is none leaves the pair out, where the official code stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

Version = Literal["v0.1", "v2"]

STRONG_WEIGHT = 3
"""How often a strong verdict counts."""
_DOUBLE = re.compile(r"\[\[([AB<>=]+)\]\]")
_SINGLE = re.compile(r"\[([AB<>=]+)\]")


class Outcome(NamedTuple):
    """What a label says of the answer shown as A."""

    score: float
    """1 it wins, 0 it loses, 0.5 a tie."""
    weight: int


class Rules(NamedTuple):
    """How a version of the benchmark reads games."""

    parse: Callable[[str], str | None]
    """A judgment's label."""
    outcomes: Mapping[str, Outcome]
    """Of each label that counts."""
    pairs: bool
    """A game without a verdict takes the prompt's other game with it."""
    row_level: float
    """Level of the official intervals."""
    attempts: int
    """Replies that a game takes at most: a judge that gives no label is asked to go on."""


def has_label(judgment: str) -> bool:
    """Return whether anything stands in double brackets, be it a verdict or not."""
    return _DOUBLE.search(judgment) is not None


def _agreed(judgment: str) -> str | None:
    """Return the label of v0.1: in double brackets, the same wherever there are some."""
    found = set(_DOUBLE.findall(judgment))
    return found.pop() if len(found) == 1 else None


def _last(judgment: str) -> str | None:
    """Return the label of v2: the last one in double brackets, else in single ones, in any case."""
    text = judgment.upper()
    found = _DOUBLE.findall(text) or _SINGLE.findall(text)
    return found[-1] if found else None


_FORWARD = {
    "A>>B": Outcome(1.0, STRONG_WEIGHT),
    "A>B": Outcome(1.0, 1),
    "A=B": Outcome(0.5, 1),
    "B>A": Outcome(0.0, 1),
    "B>>A": Outcome(0.0, STRONG_WEIGHT),
}
_BACKWARD = {
    "A<<B": Outcome(0.0, STRONG_WEIGHT),
    "A<B": Outcome(0.0, 1),
    "B=A": Outcome(0.5, 1),
    "B<A": Outcome(1.0, 1),
    "B<<A": Outcome(1.0, STRONG_WEIGHT),
}

RULES: Mapping[Version, Rules] = {
    "v0.1": Rules(_agreed, _FORWARD, pairs=False, row_level=0.95, attempts=2),
    "v2": Rules(_last, _FORWARD | _BACKWARD, pairs=True, row_level=0.90, attempts=1),
}


def pair_outcomes(
    baseline_first: str | None, model_first: str | None, rules: Rules
) -> tuple[list[Outcome], int]:
    """Return what both games of a prompt say of the model, and how many games are left out.

    Args:
        baseline_first: Label of game 1, in which the baseline is A.
        model_first: Label of game 2, in which the model is A.
        rules: Of the benchmark's version.
    """
    first = rules.outcomes.get(baseline_first or "")
    second = rules.outcomes.get(model_first or "")
    if rules.pairs and (first is None or second is None):
        return [], 2
    found = [] if first is None else [Outcome(1 - first.score, first.weight)]
    found += [] if second is None else [second]
    return found, 2 - len(found)

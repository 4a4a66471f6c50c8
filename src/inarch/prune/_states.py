"""Hidden states that are kept, so that a candidate runs only the blocks behind what it changes.

The residual stream has the places of `inarch.prune._subject`: block b reads at ``b.place``. A state
at place p is right as long as the set of removed blocks in front of p is as it was.

  * Base states are those of the model without what is removed already.
  * Kept states are those of the model without a candidate too, behind that candidate.

When a unit goes whose first block is at place q, all states up to q stay right, and those of the
unit behind q become base states.

Shapes: B = rows of a batch, T = tokens, D = hidden width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from inarch.prune._order import Block, Unit

if TYPE_CHECKING:
    from torch import Tensor


class State(NamedTuple):
    """The stream at a place."""

    hidden_BTD: Tensor
    """The input of the place's layer."""
    attention_BTD: Tensor | None
    """What the layer's attention returned; None in front of it, or where it is removed."""


States = dict[int, State]
"""By place."""


class Places(NamedTuple):
    """Where states are kept."""

    base: frozenset[int]
    """Of the base."""
    kept: frozenset[int]
    """Of every candidate; a part of ``base``."""


class Cache:
    """The states of one batch."""

    def __init__(self) -> None:
        self.base: States = {}
        self.kept: dict[Unit, States] = {}

    def start(self, unit: Unit) -> tuple[int, State | None]:
        """Return the last place where the model without the unit is known; 0, None: nowhere."""
        kept = self.kept.get(unit)
        if kept:
            return max(kept), kept[max(kept)]
        first = first_place(unit)
        place = max((place for place in self.base if place <= first), default=0)
        return place, self.base.get(place)

    def keep(self, unit: Unit, states: States) -> None:
        """Add states of a candidate."""
        self.kept.setdefault(unit, {}).update(states)

    def trim(self, unit: Unit, places: Collection[int]) -> None:
        """Forget a candidate's states at other places."""
        self.kept[unit] = {p: s for p, s in self.kept.get(unit, {}).items() if p in places}

    def remove(self, changed: Collection[Block], *, adopt: bool) -> None:
        """Go over to another set of removed blocks.

        Args:
            changed: What is in one of the two sets only.
            adopt: Where this is a candidate, its states become those of the base.
        """
        limit = first_place(changed)
        winner = self.kept.get(tuple(sorted(changed)), {}) if adopt else {}
        self.base = {p: s for p, s in self.base.items() if p <= limit} | winner
        self.kept = {
            unit: {p: s for p, s in states.items() if p <= limit}
            for unit, states in self.kept.items()
            if not set(unit) & set(changed)
        }


def first_place(blocks: Iterable[Block]) -> int:
    """Return the place at which the first of the blocks reads."""
    return min(block.place for block in blocks)


def plan_places(starts: Collection[int], num_tensors: float, *, kept: bool, twice: bool) -> Places:
    """Return where to keep states so that they fit.

    Base states come first, thinned evenly if they do not all fit. What is left goes to the
    candidates: everywhere if that fits, or at as many inputs of layers as do, spread over the last
    two thirds of the model, where removals are likely: states in front of the next winner are those
    that help.

    Args:
        starts: The place in front of each candidate.
        num_tensors: How many tensors of the size of the hidden states of all rows fit.
        kept: Keep states of candidates at all.
        twice: Two sets of base states exist at a time: the base's and the best candidate's.
    """
    all_places = sorted(set(starts) - {0})
    base = all_places
    even = [p for p in all_places if p % 2 == 0]
    copies = 1 + twice
    while base and copies * _tensors(base) > num_tensors:
        base = even if len(base) > len(even) else _thinned(even, len(base) - 1)
    left = num_tensors - copies * _tensors(base)
    if not kept or not base:
        return Places(frozenset(base), frozenset())

    def needed(places: list[int]) -> int:
        return sum(_tensors([p for p in places if p > start]) for start in starts)

    marks = base
    if needed(marks) > left:
        even = [p for p in base if p % 2 == 0]
        counts = range(len(even), -1, -1)
        spread = (_spread(even, max(all_places), count) for count in counts)
        marks = next(places for places in spread if needed(places) <= left)
    return Places(frozenset(base), frozenset(marks))


def _tensors(places: Collection[int]) -> int:
    """Return the tensors of one candidate's states: hidden states by layer, attention's outputs."""
    return len({p // 2 for p in places}) + sum(p % 2 for p in places)


def _thinned(places: list[int], count: int) -> list[int]:
    return [places[i * len(places) // count] for i in range(count)]


def _spread(places: list[int], last: int, count: int) -> list[int]:
    """Return the places nearest to ``count`` points that divide the last two thirds evenly."""
    wanted = [last * (1 + 2 * (i + 1) / (count + 1)) / 3 for i in range(count)]
    return sorted({min(places, key=lambda p: abs(p - point)) for point in wanted})

"""The batches that go through one replica of a model, each run from as far back as it must be.

What runs a batch comes in as a function, so that the work of a search can also be counted without
a model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from inarch.prune._order import Block, Unit
from inarch.prune._states import Cache, Places, State, States, first_place


class Work(NamedTuple):
    """What was run, over all batches."""

    mha: int = 0
    """Attention blocks."""
    mlp: int = 0
    """Feed-forward blocks."""
    heads: int = 0
    """Losses of a batch."""

    @property
    def blocks(self) -> int:
        """Blocks of both kinds."""
        return self.mha + self.mlp

    def __add__(self, other: Work) -> Work:  # type: ignore[override]  # a sum, not a longer tuple
        """Return the sum of both."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


class Task(NamedTuple):
    """One run of one batch."""

    batch: int
    """Its number in the lane."""
    removed: frozenset[Block]
    """What is left out."""
    start: tuple[int, State | None]
    """Where to start, and the state there; None: from the beginning."""
    watch: tuple[int, ...]
    """The places whose states are to be kept, all behind ``start``."""


Runner = Callable[[Task], States]
"""Runs a task and returns the states at its places."""


class Lane:
    """Batches, and what is known about each."""

    def __init__(self, blocks: Collection[Block], num_batches: int):
        self.blocks = blocks
        self.caches = [Cache() for _ in range(num_batches)]
        self.work = Work()

    def base(self, i: int, removed: Collection[Block], places: Places, run: Runner) -> None:
        """Compute the base states of batch ``i`` that are missing."""
        known = self.caches[i].base
        missing = tuple(sorted(places.base - known.keys()))
        if missing:
            place = max((p for p in known if p < missing[0]), default=0)
            task = Task(i, frozenset(removed), (place, known.get(place)), missing)
            known |= run(self._counted(task, heads=0))

    def candidate(
        self, i: int, removed: Collection[Block], unit: Unit, watched: Collection[int], run: Runner
    ) -> None:
        """Run batch ``i`` without a unit too, and keep its states at the places watched."""
        start = self.caches[i].start(unit)
        behind = max(start[0], first_place(unit))
        watch = tuple(sorted(place for place in watched if place > behind))
        task = Task(i, frozenset({*removed, *unit}), start, watch)
        self.caches[i].keep(unit, run(self._counted(task, heads=1)))

    def _counted(self, task: Task, heads: int) -> Task:
        place = task.start[0]
        kinds = [b.kind for b in self.blocks if b.place >= place and b not in task.removed]
        self.work += Work(kinds.count("mha"), kinds.count("mlp"), heads)
        return task

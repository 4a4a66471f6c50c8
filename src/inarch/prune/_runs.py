"""Candidates run through the batches of all replicas, and whose hidden states stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import TypeVar

from inarch.prune._blocks import BlockModel
from inarch.prune._lane import Work
from inarch.prune._loss import batches_of
from inarch.prune._order import Block, Unit
from inarch.prune._replica import Nll, Replica
from inarch.prune._rows import Rows
from inarch.prune._states import Cache, Places, first_place, plan_places
from inarch.prune.settings import SearchSettings

R = TypeVar("R")


class Runs:
    """Replicas of a model that share the rows, batch by batch in turns."""

    def __init__(self, models: Sequence[BlockModel], rows: Rows, settings: SearchSettings):
        self.settings = settings
        num = len(models)
        self.replicas = [
            Replica(m, batches_of(rows, settings.batch_rows, m.model.device, slice(i, None, num)))
            for i, m in enumerate(models)
        ]
        self.num_turns = len(self.replicas[0].batches)
        self.removed: frozenset[Block] = frozenset()
        model = models[0].model
        hidden_size = model.config.get_text_config().hidden_size
        self._state_bytes = rows.ids_ST.numel() * hidden_size * model.dtype.itemsize
        self._starts: frozenset[int] = frozenset()
        self._places = Places(frozenset(), frozenset())
        self._best: tuple[float, int, Unit] | None = None

    @property
    def work(self) -> Work:
        """What was run for losses so far."""
        return sum((replica.lane.work for replica in self.replicas), Work())

    def on_all(self, turn: int, fn: Callable[[Replica, int], R]) -> list[R]:
        """Return what ``fn`` makes of the next batch of each replica, in the order of the rows."""
        at_work = [replica for replica in self.replicas if turn < len(replica.batches)]
        if len(at_work) == 1:
            return [fn(at_work[0], turn)]
        with ThreadPoolExecutor(len(at_work)) as pool:
            return list(pool.map(lambda replica: fn(replica, turn), at_work))

    def go_to(self, removed: Collection[Block], candidates: Sequence[Unit]) -> bool:
        """Make ready to run candidates without ``removed``; return whether that is new."""
        changed = self.removed ^ frozenset(removed)
        if changed:
            self.removed, self._best = frozenset(removed), None
            for cache in self._caches():
                cache.remove(changed, adopt=self.settings.reuse_winner)
        if self.settings.reuse_prefix:
            self._plan(candidates)
            for turn in range(self.num_turns):
                self.on_all(turn, lambda at, i: at.base(i, self.removed, self._places))
        return bool(changed)

    def row_sums(self, unit: Unit, turn: int, nll: Nll) -> list[float]:
        """Return the summed NLL of the rows of a turn without a unit."""
        # In a race any candidate may win, and all of their states would be kept until it ends.
        adopts = self.settings.reuse_winner and self.settings.racing is None
        watched = self._places.base if adopts else self._places.kept
        found = self.on_all(turn, lambda at, i: at.row_sums(i, self.removed, unit, watched, nll))
        return [value for sums in found for value in sums]

    def retain(self, unit: Unit, index: int, score: float) -> None:
        """Keep all states of the best candidate so far, of others those at the planned places.

        Args:
            unit: The candidate, run as far as it will be.
            index: Its place among the candidates, which breaks ties.
            score: What it is ranked by; not finite where it cannot win.
        """
        seen = {unit, self._best[2]} if self._best else {unit}
        is_best = self._best is None or (score, index) < self._best[:2]
        if self.settings.reuse_winner and isfinite(score) and is_best:
            self._best = (score, index, unit)
        for spare in seen - {self._best[2] if self._best else ()}:
            for cache in self._caches():
                cache.trim(spare, self._places.kept)

    def _plan(self, candidates: Sequence[Unit]) -> None:
        """Decide where states are kept, unless it was decided for these candidates."""
        starts = frozenset(map(first_place, candidates))
        if not starts <= self._starts:
            self._starts = starts
            self._places = plan_places(
                starts,
                self.settings.state_gib * 2**30 / self._state_bytes,
                kept=self.settings.reuse_candidates,
                twice=self.settings.reuse_winner,
            )

    def _caches(self) -> Iterator[Cache]:
        return (cache for replica in self.replicas for cache in replica.lane.caches)

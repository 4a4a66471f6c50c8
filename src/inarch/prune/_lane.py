"""One replica of a model, and the part of the batches that goes through it.

Shapes: B = rows of a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from inarch.prune._blocks import BlockModel
from inarch.prune._loss import Batch, no_nll
from inarch.prune._order import Block, Unit
from inarch.prune._states import Cache, Places, State, Work, first_place, run

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Nll = Callable[[BlockModel, Batch], "Tensor"]


def replica(model: BlockModel, device: str | torch.device) -> BlockModel:
    """Return a copy of a model on a device."""
    return BlockModel.of(copy.deepcopy(model.model).to(device))


class Lane:
    """A replica, its batches, and what is known about them."""

    def __init__(self, model: BlockModel, batches: list[Batch]):
        self.model = model
        self.batches = batches
        self.caches = [Cache() for _ in batches]
        self.work = Work()

    def base(self, i: int, removed: Collection[Block], places: Places) -> None:
        """Compute the base states of batch ``i`` that are missing."""
        known = self.caches[i].base
        missing = places.base - known.keys()
        if missing:
            place = max((p for p in known if p < min(missing)), default=0)
            start = place, known.get(place)
            self._count(removed, place, heads=0)
            known |= run(self.model, self.batches[i], removed, start, missing, no_nll)[1]

    def candidate(
        self, i: int, removed: Collection[Block], unit: Unit, watched: Collection[int], nll: Nll
    ) -> list[float]:
        """Return the summed NLL of each row of batch ``i`` without a unit; keep its states."""
        start: tuple[int, State | None] = self.caches[i].start(unit)
        watch = [place for place in watched if place > max(start[0], first_place(unit))]
        left_out = {*removed, *unit}
        self._count(left_out, start[0], heads=1)
        sums_B, states = run(self.model, self.batches[i], left_out, start, watch, nll)
        self.caches[i].keep(unit, states)
        return sums_B.tolist()

    def _count(self, left_out: Collection[Block], place: int, heads: int) -> None:
        kinds = [b.kind for b in self.model.blocks if b.place >= place and b not in left_out]
        self.work += Work(kinds.count("mha"), kinds.count("mlp"), heads)

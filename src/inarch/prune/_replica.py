"""A model on one device, and the batches that go through it.

Shapes: B = rows of a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import torch

from inarch.prune._blocks import BlockModel
from inarch.prune._lane import Lane, Task
from inarch.prune._loss import Batch, no_nll
from inarch.prune._order import Block, Unit
from inarch.prune._states import Places, State, States

if TYPE_CHECKING:
    from torch import Tensor

R = TypeVar("R")

Nll = Callable[[BlockModel, Batch], "Tensor"]


class Replica:
    """A model, its share of the batches, and what is known about each."""

    def __init__(self, model: BlockModel, batches: list[Batch]):
        self.model = model
        self.batches = batches
        self.lane = Lane(model.blocks, len(batches))

    def base(self, i: int, removed: Collection[Block], places: Places) -> None:
        """Compute the base states of batch ``i`` that are missing."""

        def runner(task: Task) -> States:
            return run(self.model, self.batches[i], task, no_nll)[1]

        self.lane.base(i, removed, places, runner)

    def row_sums(
        self, i: int, removed: Collection[Block], unit: Unit, watched: Collection[int], nll: Nll
    ) -> list[float]:
        """Return the summed NLL of each row of batch ``i`` without a unit; keep its states."""
        sums: list[float] = []

        def runner(task: Task) -> States:
            sums_B, states = run(self.model, self.batches[i], task, nll)
            sums.extend(sums_B.tolist())
            return states

        self.lane.candidate(i, removed, unit, watched, runner)
        return sums


def run(
    model: BlockModel, batch: Batch, task: Task, end: Callable[[BlockModel, Batch], R]
) -> tuple[R, States]:
    """Run a batch from a place on; return what ``end``, which calls the model, makes of it.

    And the states at the places of the task.
    """
    place, state = task.start
    attentions = {Block("mha", p // 2) for p in task.watch if p % 2} - task.removed
    with torch.no_grad(), ExitStack() as stack:
        stack.enter_context(model.without(task.removed))
        if state is not None:
            stack.enter_context(model.starting(place // 2, state.hidden_BTD))
            if state.attention_BTD is not None:
                known = {Block("mha", place // 2): state.attention_BTD}
                stack.enter_context(model.replaying(known))
        seen = stack.enter_context(model.watching({p // 2 for p in task.watch}))
        outputs = stack.enter_context(model.recording(attentions))
        result = end(model, batch)
    states = {
        p: State(seen[p // 2], outputs.get(Block("mha", p // 2)) if p % 2 else None)
        for p in task.watch
    }
    return result, states


def replicas(model: BlockModel, devices: Sequence[str | torch.device]) -> list[BlockModel]:
    """Return the model on each device: itself once where it is already, otherwise copies."""
    found: list[BlockModel] = []
    for device in devices:
        is_there = torch.device(device) == model.model.device and model not in found
        found.append(model if is_there else BlockModel.of(copy.deepcopy(model.model).to(device)))
    return found

"""Which parameters of a layer serve which of its blocks.

What lies within a block's modules is its own. The rest (norms before and after it) is found out by
running the layer with both blocks replaced by a sine, random numbers for its other parameters, and
one of the two switched off: a parameter serves the block without which the output does not depend
on it. Neither names nor the weights themselves matter, so it works on the meta device, and costs
a few norms.

Shapes: T = tokens, D = hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from inarch.prune._order import Kind
from inarch.prune._slots import Slot, hidden_of, packed, patched, standing_in, unpacked


class Call(NamedTuple):
    """What a layer was called with."""

    args: tuple[Any, ...]
    """Its hidden states first."""
    kwargs: dict[str, Any]
    returned: int | None
    """Length of the tuple that it returned; None: a tensor."""


class Owners(NamedTuple):
    """Names of a layer's parameters, by what they serve. Together they are all of them."""

    mha: tuple[str, ...]
    mlp: tuple[str, ...]
    shared: tuple[str, ...]
    """What both blocks need, or neither."""
    parallel: bool
    """The feed-forward does not see what attention adds."""


def find_owners(layer: nn.Module, slots: Mapping[Kind, Slot], call: Call) -> Owners:
    """Return which parameters of a layer serve which block.

    Args:
        layer: In evaluation mode, on any device.
        slots: Of its two blocks.
        call: Arguments that it gets; their values do not matter.
    """
    inside = {
        id(parameter): kind
        for kind, slot in slots.items()
        for part in slot.parts
        for parameter in part.parameters()
    }
    owners: dict[str, set[Kind]] = {
        name: {inside[id(parameter)]} if id(parameter) in inside else set()
        for name, parameter in layer.named_parameters()
    }
    probe = _Probe(layer, slots, call, [name for name, found in owners.items() if not found])
    seen_TD = {kind: probe.run(kind) for kind in slots}
    for kind, found in probe.served.items():
        for name in found:
            owners[name].add(kind)
    return Owners(
        mha=tuple(name for name, kinds in owners.items() if kinds == {"mha"}),
        mlp=tuple(name for name, kinds in owners.items() if kinds == {"mlp"}),
        shared=tuple(name for name, kinds in owners.items() if len(kinds) != 1),
        parallel=torch.equal(seen_TD["mha"], seen_TD["mlp"]),
    )


class _Probe:
    """One layer with made-up blocks."""

    def __init__(self, layer: nn.Module, slots: Mapping[Kind, Slot], call: Call, names: list[str]):
        self.layer, self.slots, self.served = layer, slots, dict[Kind, list[str]]()
        parameters, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())
        device = next(iter(parameters.values())).device
        device = torch.device("cpu") if device.type == "meta" else device
        generator = torch.Generator().manual_seed(0)

        def draw(like: Tensor) -> Tensor:
            return (torch.rand(like.shape, generator=generator) + 0.5).to(device)

        self.values = {name: draw(parameters[name]).requires_grad_() for name in names}
        self.buffers = {
            name: draw(buffer) for name, buffer in buffers.items() if buffer.device.type == "meta"
        }
        self.call = tree_map_only(Tensor, lambda t: torch.zeros_like(t, device=device), call)
        self.hidden = draw(hidden_of(call.args, call.kwargs)).requires_grad_()
        self.weights = draw(hidden_of(call.args, call.kwargs))

    def run(self, on: Kind) -> Tensor:
        """Run with one block on; note what serves it and return what the feed-forward saw."""
        seen: list[Tensor] = []
        forwards: list[tuple[nn.Module, Callable[..., Any]]] = []
        for kind, slot in self.slots.items():
            forwards += standing_in(slot, _made_up(slot, kind == on, seen))
        with torch.inference_mode(False), torch.enable_grad(), patched(forwards):
            args = (self.hidden, *self.call.args[1:])
            values = self.values | self.buffers
            output = unpacked(functional_call(self.layer, values, args, self.call.kwargs))
            wanted = (self.hidden, *self.values.values())
            grads = torch.autograd.grad((output * self.weights).sum(), wanted, allow_unused=True)
        self.served[on] = [
            name
            for name, grad in zip(self.values, grads[1:], strict=True)
            if grad is not None and bool(grad.any())
        ]
        return seen[-1]


def _made_up(slot: Slot, is_on: bool, seen: list[Tensor]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden_TD = hidden_of(args, kwargs)
        seen.append(hidden_TD)
        neutral_TD = slot.neutral(args, kwargs)
        return packed(neutral_TD + hidden_TD.sin() if is_on else neutral_TD, slot.returned)

    return forward

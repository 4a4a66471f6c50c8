"""Which parameters of a layer serve which of its blocks.

What lies within a block's modules is its own. The rest (norms before and after it) is found out by
running the layer with both blocks replaced by a sine, random numbers for its other parameters, and
one of the two switched off: a parameter serves the block without which the output does not depend
on it. Neither names nor the weights themselves matter, so it works on the meta device, and costs
a few norms.

Shapes: B = batch, T = tokens, D = hidden width.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from inarch.errors import WeightsError
from inarch.numerics import Forward, patched
from inarch.prune._order import Kind
from inarch.prune._slots import Slot, hidden_of, packed, standing_in, unpacked

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Owners(NamedTuple):
    """Names of a layer's parameters, by what they serve. Together they are all of them."""

    mha: tuple[str, ...]
    mlp: tuple[str, ...]
    shared: tuple[str, ...]
    """What both blocks need, or neither."""
    parallel: bool
    """The feed-forward does not see what attention adds."""


def find_owners(layer: nn.Module, slots: Mapping[Kind, Slot], width: int) -> Owners:
    """Return which parameters of a layer serve which block.

    Args:
        layer: In evaluation mode, on any device.
        slots: Of its two blocks.
        width: Of the hidden states.

    Raises:
        WeightsError: The layer does not run alone, with made-up blocks.
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
    probe = _run(layer, slots, width, [name for name, found in owners.items() if not found])
    for kind, found in probe.served.items():
        for name in found:
            owners[name].add(kind)
    return Owners(
        mha=tuple(name for name, kinds in owners.items() if kinds == {"mha"}),
        mlp=tuple(name for name, kinds in owners.items() if kinds == {"mlp"}),
        shared=tuple(name for name, kinds in owners.items() if len(kinds) != 1),
        parallel=torch.equal(*probe.mlp_inputs_BTD),
    )


@torch.inference_mode(False)
@torch.enable_grad()
def _run(layer: nn.Module, slots: Mapping[Kind, Slot], width: int, names: list[str]) -> _Probe:
    is_hollow = any(parameter.is_meta for parameter in layer.parameters())
    for returned in _returned(slots, is_hollow):
        probe = _Probe(layer, returned, width, names)
        try:
            for kind in slots:
                probe.run(kind)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = error
        else:
            return probe
    raise WeightsError(
        f"a {type(layer).__name__} does not run alone, with other blocks ({reason}); expected one"
        " that hands masks and positions on to its blocks as they are, so it cannot be told which"
        " parameters serve which block"
    ) from reason


def _returned(slots: Mapping[Kind, Slot], is_hollow: bool) -> Iterator[dict[Kind, Slot]]:
    """Yield what blocks may return; on the meta device nothing has shown it, so all that occurs."""
    yield dict(slots)
    if is_hollow:
        for mha, mlp in itertools.product((2, 3, None), (None, 2, 3)):
            yield {
                "mha": slots["mha"]._replace(returned=mha),
                "mlp": slots["mlp"]._replace(returned=mlp),
            }


class _Probe:
    """One layer with made-up blocks."""

    def __init__(self, layer: nn.Module, slots: Mapping[Kind, Slot], width: int, names: list[str]):
        self.layer, self.slots, self.served = layer, slots, dict[Kind, list[str]]()
        self.mlp_inputs_BTD: list[Tensor] = []
        parameters = dict(layer.named_parameters())
        has_values = [value.device for value in parameters.values() if not value.is_meta]
        device = has_values[0] if has_values else torch.device("cpu")
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return (torch.rand(shape, generator=generator) + 0.5).to(device)

        self.values = {name: draw(*parameters[name].shape).requires_grad_() for name in names}
        self.hidden_12D = draw(1, 2, width).requires_grad_()
        self.weights_12D = draw(1, 2, width)
        # What else a layer asks for (masks, positions) it hands on to its blocks.
        asked = list(inspect.signature(type(layer).forward).parameters.values())[2:]
        self.others = [None for p in asked if p.default is p.empty and p.kind in _POSITIONAL]

    def run(self, on: Kind) -> None:
        """Run with one block on; note what serves it, and what the feed-forward sees."""
        inputs_BTD: dict[Kind, Tensor] = {}
        # Accelerate's forwards would fetch weights from elsewhere.
        forwards: list[tuple[nn.Module, Forward]] = [
            (module, type(module).forward.__get__(module))
            for module in self.layer.modules()
            if "forward" in module.__dict__
        ]
        for kind, slot in self.slots.items():
            forwards += standing_in(slot, self._made_up(kind, kind == on, inputs_BTD))
        with patched(forwards):
            output = functional_call(self.layer, self.values, (self.hidden_12D, *self.others))
            total = (unpacked(output) * self.weights_12D).sum()
            wanted = (self.hidden_12D, *self.values.values())
            grads = torch.autograd.grad(total, wanted, allow_unused=True)
        self.served[on] = [
            name
            for name, grad in zip(self.values, grads[1:], strict=True)
            if grad is not None and bool(grad.any())
        ]
        self.mlp_inputs_BTD.append(inputs_BTD["mlp"])

    def _made_up(self, kind: Kind, is_on: bool, inputs_BTD: dict[Kind, Tensor]) -> Forward:
        slot = self.slots[kind]

        def forward(*args: Any, **kwargs: Any) -> Any:
            inputs_BTD[kind] = hidden_of(args, kwargs)
            output_BTD = slot.neutral(args, kwargs)
            if is_on:
                output_BTD = output_BTD + inputs_BTD[kind].sin()
            return packed(output_BTD, slot.returned)

        return forward

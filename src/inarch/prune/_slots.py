"""Where the residual blocks of a decoder sit, and what stands in for one that is switched off.

Only `forward` on module instances is replaced, and only within a `with`: no module is swapped, so
names, parameters and the hooks around a module stay as they are.

Differs:  the reference swaps whole Llama layers for masked copies.

Shapes: B = batch, T = tokens, D = hidden width.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from inarch.errors import WeightsError
from inarch.numerics import Forward
from inarch.prune._order import Block, Kind

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMES: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "mha": (("self_attn",), ("attn",), ("attention",), ("self_attention",)),
    "mlp": (("mlp",), ("ffn",), ("feed_forward",), ("block_sparse_moe",), ("fc1", "fc2")),
}
"""What layers call their blocks. Two names: modules that the layer calls one after the other."""


class Slot(NamedTuple):
    """The place of one block in its layer."""

    parts: tuple[nn.Module, ...]
    """The modules that make it up; the last one's output is the block's."""
    cache_index: int
    """The entry of the KV cache that it writes; feed-forward blocks write none."""
    residual: int | None
    """Which argument holds the residual, for a block that returns it added to its own (BLOOM)."""
    returned: int | None
    """Length of the tuple that it returns; None: a tensor."""

    def off(self, *args: Any, **kwargs: Any) -> Any:
        """Answer for the block so that the residual stream passes it unchanged."""
        self._keep_time(args, kwargs)
        return packed(self.neutral(args, kwargs), self.returned)

    def saying(self, output: Tensor) -> Forward:
        """Return what answers with a stored output of the block."""

        def say(*args: Any, **kwargs: Any) -> Any:
            self._keep_time(args, kwargs)
            return packed(output.clone(), self.returned)  # Falcon adds to it in place

        return say

    def neutral(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Return what leaves the residual stream as it is: zeros, or the residual itself."""
        if self.residual is None:
            return torch.zeros_like(hidden_of(args, kwargs))
        return kwargs["residual"] if "residual" in kwargs else args[self.residual]

    def _keep_time(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Write one number per token into the block's entry of the KV cache, if there is a cache.

        Models read the length of the past, and with it positions and masks, from the first entry.
        """
        for cache in (*args, *kwargs.values()):
            if isinstance(cache, Cache):
                hidden_BTD = hidden_of(args, kwargs)
                stub_B1T1 = hidden_BTD.new_zeros(hidden_BTD.shape[0], 1, hidden_BTD.shape[1], 1)
                cache.update(stub_B1T1, stub_B1T1, self.cache_index)
                return


def hidden_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the hidden states among the arguments of a layer or block."""
    named = kwargs.get("hidden_states")
    return args[0] if named is None else named


def packed(output: Tensor, returned: int | None) -> Any:
    """Return an output as a class returns it: alone, or first in a tuple of that length."""
    return output if returned is None else (output, *[None] * (returned - 1))


def unpacked(output: Any) -> Tensor:
    """Return the tensor of what a layer or block returned."""
    return output[0] if isinstance(output, tuple) else output


def _passed_on(*args: Any, **kwargs: Any) -> Tensor:
    return hidden_of(args, kwargs)


def switched_off(slots: Iterable[Slot]) -> Iterator[tuple[nn.Module, Forward]]:
    """Return the modules of blocks with forwards that leave the residual stream unchanged."""
    for slot in slots:
        yield from standing_in(slot, slot.off)


def replayed(outputs: Iterable[tuple[Slot, Tensor]]) -> Iterator[tuple[nn.Module, Forward]]:
    """Return the modules of blocks with forwards that answer with stored outputs."""
    for slot, output in outputs:
        yield from standing_in(slot, slot.saying(output))


def standing_in(slot: Slot, forward: Forward) -> Iterator[tuple[nn.Module, Forward]]:
    """Return the modules of a block with forwards of which the last is the given one."""
    yield from ((part, _passed_on) for part in slot.parts[:-1])
    yield slot.parts[-1], forward


# ----------------------------------------------------------------------------------- finding them


def decoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the decoder layers and their dotted name.

    They are the module list, of the text decoder, that is as long as the config has layers and
    whose first member has an attention and a feed-forward module.

    Raises:
        WeightsError: There is none, or more than one.
    """
    num = model.config.get_text_config().num_hidden_layers
    decoder = set(model.get_decoder().modules())  # an image tower may have as many layers
    lists = {
        name: module
        for name, module in model.named_modules()
        if module in decoder and isinstance(module, nn.ModuleList) and len(module) == num
    }
    found = [(name, m) for name, m in lists.items() if all(_parts(m[0], kind) for kind in NAMES)]
    if len(found) != 1:
        raise WeightsError(
            f"found {len(found)} lists of {num} layers with attention and feed-forward in"
            f" {type(model).__name__}{f' ({sorted(lists)})' if lists else ''}, expected one;"
            " blocks of this architecture cannot be removed"
        )
    return found[0]


def find_slots(layers: nn.ModuleList) -> dict[Block, Slot]:
    """Return the slots of all blocks, layer by layer, attention first.

    Raises:
        WeightsError: A layer lacks one of them.
    """
    slots: dict[Block, Slot] = {}
    for index, layer in enumerate(layers):
        for kind in NAMES:
            parts = _parts(layer, kind)
            if not parts:
                have = ", ".join(name for name, _ in layer.named_children())
                raise WeightsError(
                    f"layer {index} has no {kind} block: found the modules {have}, expected one of"
                    f" {', '.join('+'.join(names) for names in NAMES[kind])}; blocks of this"
                    " architecture cannot be removed"
                )
            slots[Block(kind, index)] = _slot(kind, parts, index)
    return slots


def _slot(kind: Kind, parts: tuple[nn.Module, ...], index: int) -> Slot:
    names = list(inspect.signature(type(parts[-1]).forward).parameters)[1:]
    residual = names.index("residual") if "residual" in names else None
    cache_index = getattr(parts[0], "layer_idx", None)
    return Slot(
        parts,
        index if cache_index is None else cache_index,
        residual,
        2 if kind == "mha" else None,
    )


def _parts(layer: nn.Module, kind: Kind) -> tuple[nn.Module, ...]:
    """Return the modules of a layer that make up a block; none where it has no such block."""
    for names in NAMES[kind]:
        found = [getattr(layer, name, None) for name in names]
        parts = tuple(module for module in found if isinstance(module, nn.Module))
        if len(parts) == len(names):
            return parts
    return ()

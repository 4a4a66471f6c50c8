"""Whether blocks of a model can be switched off at all: found out before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from inarch.errors import WeightsError
from inarch.prune._order import Block
from inarch.prune._owners import Call
from inarch.prune._slots import Slot, hidden_of, patched, switched_off, unpacked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_kind(model: PreTrainedModel) -> None:
    """Raise WeightsError for a model that is quantised, or no decoder alone."""
    config = model.config
    if getattr(config, "quantization_config", None) is not None:
        raise WeightsError(
            "the weights are quantised; expected plain ones: prune the checkpoint that they were"
            " made from, then quantise the result"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise WeightsError(f"{type(model).__name__} has an encoder; expected a decoder alone")


@torch.no_grad()
def measure(model: PreTrainedModel, slots: Mapping[Block, Slot]) -> dict[Block, Slot]:
    """Return the slots with what blocks return filled in, as a tiny forward shows it.

    Raises:
        WeightsError: A layer does not call one of its blocks, or more than once.
    """
    outputs: dict[Block, list[Any]] = {block: [] for block in slots}

    def keep(block: Block) -> Any:
        return lambda _module, _args, output: outputs[block].append(output)

    with ExitStack() as stack:
        for block, slot in slots.items():
            stack.callback(slot.parts[-1].register_forward_hook(keep(block)).remove)
        _run_tiny(model)
    for block, found in outputs.items():
        if len(found) != 1:
            raise WeightsError(
                f"layer {block.layer} calls its {block.kind} module {len(found)} times, expected"
                " once; blocks of this architecture cannot be removed"
            )
    return {
        block: slot._replace(returned=_length(outputs[block][0])) for block, slot in slots.items()
    }


@torch.no_grad()
def null_test(
    model: PreTrainedModel, layers: nn.ModuleList, slots: Mapping[Block, Slot]
) -> tuple[Call, ...]:
    """Switch all blocks off, and return what each layer was called with.

    Without its blocks a residual layer is the identity, bit for bit.

    Raises:
        WeightsError: A layer changes what passes through it.
    """
    calls: list[Call] = []

    def compare(_layer: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        before_BTD, after_BTD = hidden_of(args, kwargs), unpacked(output)
        if before_BTD.device.type != "meta" and not torch.equal(before_BTD, after_BTD):
            difference = (after_BTD - before_BTD).abs().max().item()
            raise WeightsError(
                f"without attention and feed-forward, layer {len(calls)} of {type(model).__name__}"
                f" still changes the hidden states, by up to {difference:.3g}; expected a layer"
                " that only adds the two to them. It holds something beside them (a norm after the"
                " sum, a norm with a bias after a block, a gate, a scale), so its blocks cannot be"
                " removed one by one"
            )
        calls.append(Call(args, kwargs, _length(output)))

    with patched(switched_off(slots.values())), ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(compare, with_kwargs=True).remove)
        _run_tiny(model)
    return tuple(calls)


def _run_tiny(model: PreTrainedModel) -> None:
    ids_14 = torch.arange(1, 5, device=model.device)[None]
    model(input_ids=ids_14 % model.config.get_text_config().vocab_size, use_cache=False)


def _length(output: Any) -> int | None:
    return len(output) if isinstance(output, tuple) else None

"""Whether blocks of a model can be switched off at all: found out before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inarch.errors import WeightsError
from inarch.numerics.head import run_with_head
from inarch.prune._order import Block
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
def measure(
    model: PreTrainedModel, layers: nn.ModuleList, slots: Mapping[Block, Slot]
) -> tuple[dict[Block, Slot], int | None]:
    """Return the slots with what blocks return filled in, and what layers return.

    Both are lengths of tuples; None is a tensor. A tiny forward shows them.

    Raises:
        WeightsError: A layer does not call one of its blocks, or more than once.
    """
    modules = {block: slot.parts[-1] for block, slot in slots.items()}
    outputs: dict[nn.Module, list[Any]] = {part: [] for part in (*modules.values(), layers[0])}

    def keep(module: nn.Module, _args: Any, output: Any) -> None:
        outputs[module].append(output)

    with ExitStack() as stack:
        for module in outputs:
            stack.callback(module.register_forward_hook(keep).remove)
        model(**_tiny_inputs(model), use_cache=False)
    for block, module in modules.items():
        if len(outputs[module]) != 1:
            raise WeightsError(
                f"layer {block.layer} calls its {block.kind} module {len(outputs[module])} times,"
                " expected once; blocks of this architecture cannot be removed"
            )
    lengths = {
        module: len(found[0]) if isinstance(found[0], tuple) else None
        for module, found in outputs.items()
    }
    measured = {
        block: slot._replace(returned=lengths[modules[block]]) for block, slot in slots.items()
    }
    return measured, lengths[layers[0]]


@torch.no_grad()
def null_test(model: PreTrainedModel, layers: nn.ModuleList, slots: Mapping[Block, Slot]) -> None:
    """Switch all blocks off and see that each layer is the identity, bit for bit.

    Raises:
        WeightsError: A layer changes what passes through it.
    """
    index_of = {layer: index for index, layer in enumerate(layers)}

    def compare(layer: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        before_BTD, after_BTD = hidden_of(args, kwargs), unpacked(output)
        if not torch.equal(before_BTD, after_BTD):
            difference = (after_BTD - before_BTD).abs().max().item()
            raise WeightsError(
                f"without attention and feed-forward, layer {index_of[layer]} of"
                f" {type(model).__name__} still changes the hidden states, by up to"
                f" {difference:.3g}; expected a layer that only adds the two to them. It holds"
                " something beside them (a norm after the sum, a norm with a bias after a block, a"
                " gate, a scale), so its blocks cannot be removed one by one"
            )

    with patched(switched_off(slots.values())), ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(compare, with_kwargs=True).remove)
        # Its own small forward comes now, as it would not fit the inputs within `starting`.
        run_with_head(model, _tiny_inputs(model), lambda _hidden, _head: (None,))


def _tiny_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    ids_14 = torch.arange(1, 5, device=model.device)[None]
    return {"input_ids": ids_14 % model.config.get_text_config().vocab_size}

"""Whether blocks of a model can be switched off at all: found out before any work starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inarch.errors import WeightsError
from inarch.numerics import patched
from inarch.numerics.head import run_with_head
from inarch.prune._order import Block
from inarch.prune._resume import entered, watched
from inarch.prune._slots import Slot, hidden_of, switched_off, unpacked

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
def try_out(
    model: PreTrainedModel, layers: nn.ModuleList, slots: Mapping[Block, Slot]
) -> tuple[dict[Block, Slot], int | None]:
    """Return the slots with what blocks return filled in, and what layers return.

    Both are lengths of tuples; None is a tensor. Four tokens run through the model: as it is; with
    all blocks off, where each layer must be the identity, bit for bit; and from the middle, where
    the logits must be the same, bit for bit.

    Raises:
        WeightsError: A layer does not call its blocks once each, changes what passes through it
            without them, or needs something from the layers before it beside the hidden states.
    """
    middle = len(layers) // 2
    with watched(layers, [middle]) as states:
        measured, returned, logits = _measure(model, layers, slots)
    with _explained(model, "without its blocks"):
        _null_test(model, layers, measured)
    with (
        _explained(model, "without its first layers"),
        entered(layers, middle, states[middle], returned),
    ):
        again = model(**_tiny_inputs(model), use_cache=False).logits
    if not torch.allclose(logits, again, rtol=0, atol=0, equal_nan=True):
        raise WeightsError(
            f"the layers of {type(model).__name__} hand on more than hidden states: without its"
            f" first {middle}, the others give other logits for the same states; expected layers"
            " that need nothing else of each other, so blocks of this one cannot be removed"
        )
    return measured, returned


def _measure(
    model: PreTrainedModel, layers: nn.ModuleList, slots: Mapping[Block, Slot]
) -> tuple[dict[Block, Slot], int | None, Tensor]:
    modules = {block: slot.parts[-1] for block, slot in slots.items()}
    outputs: dict[nn.Module, list[Any]] = {part: [] for part in (*modules.values(), layers[0])}

    def keep(module: nn.Module, _args: Any, output: Any) -> None:
        outputs[module].append(output)

    with ExitStack() as stack:
        for module in outputs:
            stack.callback(module.register_forward_hook(keep).remove)
        logits = model(**_tiny_inputs(model), use_cache=False).logits
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
    return measured, lengths[layers[0]], logits


def _null_test(model: PreTrainedModel, layers: nn.ModuleList, slots: Mapping[Block, Slot]) -> None:
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


@contextmanager
def _explained(model: PreTrainedModel, how: str) -> Iterator[None]:
    """Turn the error of a model that cannot run without some of its parts into a refusal."""
    try:
        yield
    except WeightsError:
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        raise WeightsError(
            f"{type(model).__name__} does not run {how} ({error}); expected layers that only add"
            " attention and feed-forward to the hidden states, so its blocks cannot be removed"
        ) from error


def is_hollow(model: PreTrainedModel) -> bool:
    """Return whether a model has no values: on the meta device, and not merely offloaded."""
    return model.device.type == "meta" and not hasattr(model, "_hf_hook")


def _tiny_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    device = "cpu" if model.device.type == "meta" else model.device  # accelerate moves them
    ids_14 = torch.arange(1, 5, device=device)[None]
    return {"input_ids": ids_14 % model.config.get_text_config().vocab_size}

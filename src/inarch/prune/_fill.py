"""A new model out of the parameters of another one, without a copy of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inarch.errors import WeightsError
from inarch.prune._blocks import BlockModel
from inarch.prune._layer_config import homes
from inarch.prune._order import Block, Kind
from inarch.prune._repack import Slot

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KINDS: tuple[Kind, ...] = ("mha", "mlp")
PLACE_NAMES = ("layer_idx", "layer_id", "training")
"""Attributes of modules that may differ from place to place."""


def fill(
    subject: BlockModel, model_class: Any, config: Any, slots: Sequence[Slot]
) -> PreTrainedModel:
    """Return a model of a class and config with the subject's parameters in its slots.

    Parameters are shared with the subject, and tied where its are. What the subject has nothing
    for, the pads, is zero: then the block, its norms among it, puts out zeros.

    Raises:
        WeightsError: A block does not do in its new place what it did in the old one.
    """
    model = subject.model
    with torch.device("meta"):
        new = model_class._from_config(
            config, dtype=model.dtype, attn_implementation=model.config._attn_implementation
        )
    sources = _Sources(subject, slots)
    for name, empty in _tensors(new):
        found = sources.find(name, empty)
        if found.shape != empty.shape:
            raise WeightsError(
                f"{name} would have shape {list(empty.shape)} in the cut model and has"
                f" {list(found.shape)} in this one; its layers differ in a way that their config"
                " does not tell"
            )
        _put(new, name, found, isinstance(empty, nn.Parameter))
    new.generation_config = copy.deepcopy(model.generation_config)
    return new.eval()


def moved(subject: BlockModel, new: PreTrainedModel, slots: Sequence[Slot]) -> str | None:
    """Return what a block would do differently in its new place, or None.

    Some attention depends on the index of its layer, such as its scale or its window. What the
    class made of the new index is compared with what it was.
    """
    layers = new.get_submodule(subject.layers_path)
    for place, slot in enumerate(slots):
        for kind in KINDS:
            layer = getattr(slot, kind)
            if layer is None:
                continue
            for name in part_names(subject, Block(kind, layer)):
                before = _settings(subject.layers[layer].get_submodule(name))
                after = _settings(layers[place].get_submodule(name))
                for key in sorted(before.keys() | after.keys()):
                    if before.get(key) != after.get(key):
                        return (
                            f"{name} of layer {layer} has {key} = {before.get(key)!r}, which would"
                            f" be {after.get(key)!r} in its new place, layer {place}"
                        )
    return None


def part_names(subject: BlockModel, block: Block) -> tuple[str, ...]:
    """Return the names, within the layer, of the modules that make up a block."""
    names = {id(module): name for name, module in subject.layers[block.layer].named_modules()}
    return tuple(names[id(part)] for part in subject.parts(block))


def own_names(subject: BlockModel, block: Block) -> tuple[str, ...]:
    """Return the names, within the layer, of the parameters of a block."""
    prefix = f"{subject.layers_path}.{block.layer}."
    return tuple(name.removeprefix(prefix) for name in subject.parameters_of(block))


class _Sources:
    """Where the tensors of a new model come from."""

    def __init__(self, subject: BlockModel, slots: Sequence[Slot]):
        self.prefix = f"{subject.layers_path}."
        self.slots = slots
        self.layers = subject.layers
        self.homes: Mapping[Kind, list[int]] = {kind: homes(slots, kind) for kind in KINDS}
        self.tensors = dict(_tensors(subject.model))
        self.kinds = {
            f"{self.prefix}{block.layer}.{name}": block.kind
            for block in subject.blocks
            for name in own_names(subject, block)
        }

    def find(self, name: str, empty: Tensor) -> Tensor:
        """Return the tensor of the old model for one of the new, or zeros for one of a pad."""
        if not name.startswith(self.prefix):
            return self.tensors[name]
        place, rest = name.removeprefix(self.prefix).split(".", 1)
        slot = self.slots[int(place)]
        for kind in KINDS:
            layer = getattr(slot, kind)
            if layer is not None and self.kinds.get(f"{self.prefix}{layer}.{rest}") == kind:
                return self.tensors[f"{self.prefix}{layer}.{rest}"]
        home = self.homes["mha"][int(place)]
        for layer in (home, *range(len(self.layers))):  # a buffer is alike in all layers
            shared = f"{self.prefix}{layer}.{rest}"
            if shared in self.tensors and shared not in self.kinds:
                return self.tensors[shared]
        if slot.pads:
            device = next(self.layers[home].parameters()).device
            return torch.zeros(empty.shape, dtype=empty.dtype, device=device)
        raise WeightsError(
            f"{name} of the cut model has no counterpart in layers {slot.mha} and {slot.mlp}, which"
            " it is made of; their blocks differ in a way that the config does not tell"
        )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _put(model: nn.Module, name: str, tensor: Tensor, is_parameter: bool) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if not is_parameter:
        module._buffers[leaf] = tensor
    elif isinstance(tensor, nn.Parameter):
        module._parameters[leaf] = tensor
    else:
        module._parameters[leaf] = nn.Parameter(tensor)


def _settings(module: nn.Module) -> dict[str, object]:
    """Return what modules keep beside tensors and other modules, by dotted name."""
    return {
        f"{path}.{key}" if path else key: value
        for path, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, int | float | str | None)
        and key not in PLACE_NAMES
        and not key.startswith("_")
    }

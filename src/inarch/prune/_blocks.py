"""The residual blocks of a decoder: found by structure, switched off within a `with`.

A layer adds two things to the residual stream, ``x <- x + mha(x); x <- x + mlp(x)``, or both at
once where they are parallel. Leaving one out is exact: ``x + 0``.

Source:   BlockPruner, arXiv:2406.10594, section 3.1, minimal residual blocks.
Differs:  any decoder of transformers, without code of its own for each; attention that is switched
          off keeps its entry in the KV cache, one number per token, so generation works.

Shapes: B = batch, T = tokens, D = hidden width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inarch.numerics import patched
from inarch.prune._check import check_kind, is_hollow, try_out
from inarch.prune._order import Block, Kind
from inarch.prune._owners import Owners, find_owners
from inarch.prune._resume import entered, watched
from inarch.prune._slots import (
    Slot,
    decoder_layers,
    find_slots,
    replayed,
    switched_off,
    unpacked,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KINDS: tuple[Kind, Kind] = ("mha", "mlp")


class BlockModel:
    """A causal LM and its blocks. Nothing of it stays changed outside a `with`.

    All context managers below may be nested, inner ones first asked. They hold within one thread,
    for forwards of the model itself: ``model(...)``, ``model.generate``, ``run_with_head``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        path: str,
        layers: nn.ModuleList,
        slots: dict[Block, Slot],
        returned: int | None,
    ):
        self.model = model
        self.layers_path = path
        """Dotted name of the layers in the model, such as ``model.layers``."""
        self.layers = layers
        self.blocks: tuple[Block, ...] = tuple(slots)
        """Layer by layer, attention first."""
        self._slots = slots
        self._returned = returned
        self._owners: dict[int, Owners] = {}

    @classmethod
    def of(cls, model: PreTrainedModel) -> BlockModel:
        """Return a model, put into evaluation mode, with its blocks.

        Four tokens run through it, with and without blocks. A model on the meta device has no
        values to run: its blocks are found, not tried.

        Raises:
            WeightsError: It is quantised, or has blocks that cannot be found, or that cannot be
                removed one by one; the message says why.
        """
        check_kind(model)
        path, layers = decoder_layers(model)
        slots, returned = find_slots(layers), None
        model.eval()
        if not is_hollow(model):
            slots, returned = try_out(model, layers, slots)
        return cls(model, path, layers, slots, returned)

    @property
    def num_layers(self) -> int:
        """Layers of the model."""
        return len(self.layers)

    # ------------------------------------------------------------------------------- parameters

    @property
    def parallel(self) -> bool:
        """Attention and feed-forward of a layer read the same input (GPT-NeoX, Falcon, Phi)."""
        return self._owners_of(0).parallel

    def parts(self, block: Block) -> tuple[nn.Module, ...]:
        """Return the modules that make up a block, its norms not among them."""
        return self._slots[block].parts

    def parameters_of(self, block: Block) -> dict[str, nn.Parameter]:
        """Return the parameters that serve a block alone, its norms among them, by full name."""
        owners = self._owners_of(block.layer)
        return self._named(block.layer, owners.mha if block.kind == "mha" else owners.mlp)

    def shared_of(self, layer: int) -> dict[str, nn.Parameter]:
        """Return the parameters of a layer that both of its blocks need, by full name."""
        return self._named(layer, self._owners_of(layer).shared)

    def _owners_of(self, layer: int) -> Owners:
        if layer not in self._owners:
            width = self.model.config.get_text_config().hidden_size
            slots = {kind: self._slots[Block(kind, layer)] for kind in KINDS}
            self._owners[layer] = find_owners(self.layers[layer], slots, width)
        return self._owners[layer]

    def _named(self, layer: int, names: Iterable[str]) -> dict[str, nn.Parameter]:
        prefix = f"{self.layers_path}.{layer}."
        return {prefix + name: self.layers[layer].get_parameter(name) for name in names}

    # ------------------------------------------------------------------------- switching blocks

    def without(self, blocks: Iterable[Block]) -> AbstractContextManager[None]:
        """Within, these blocks add nothing, and are not computed."""
        return patched(switched_off(self._slots[block] for block in blocks))

    def replaying(self, outputs: Mapping[Block, Tensor]) -> AbstractContextManager[None]:
        """Within, these blocks answer with outputs that `recording` kept, and are not computed.

        An output is what the block returned for the same input of its layer. BLOOM's and MPT's
        hold the residual too.
        """
        return patched(replayed((self._slots[block], out) for block, out in outputs.items()))

    @contextmanager
    def recording(self, blocks: Iterable[Block]) -> Iterator[dict[Block, Tensor]]:
        """Within, the outputs of these blocks are put into the dictionary that this yields."""
        kept: dict[Block, Tensor] = {}

        def keep(block: Block) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                kept[block] = unpacked(output).clone()  # Falcon adds to it in place

            return hook

        with ExitStack() as stack:
            for block in blocks:
                part = self._slots[block].parts[-1]
                stack.callback(part.register_forward_hook(keep(block)).remove)
            yield kept

    # ------------------------------------------------------------------ starting in the middle

    def starting(self, layer: int, hidden_BTD: Tensor) -> AbstractContextManager[None]:
        """Within, a forward without cache starts at a layer; those before it are not computed.

        The model is called with the same inputs as ever, and its results are bit for bit those of
        the whole forward in which the layer got ``hidden_BTD``.

        Args:
            layer: Index of the layer; ``num_layers`` enters after the last one.
            hidden_BTD: The input of that layer, ``[B, T, D]``, as `watching` saw it.
        """
        return entered(self.layers, layer, hidden_BTD, self._returned)

    def watching(self, layers: Iterable[int]) -> AbstractContextManager[dict[int, Tensor]]:
        """Within, the inputs of layers, ``[B, T, D]``, are put into the dictionary that it yields.

        ``num_layers`` stands for the output of the last layer.
        """
        return watched(self.layers, layers)

    @torch.no_grad()
    def states(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the input of each layer and the output of the last, ``num_layers + 1`` of them."""
        with self.watching(range(self.num_layers + 1)) as seen:
            self.model(**inputs, use_cache=False)
        return tuple(seen[index] for index in range(self.num_layers + 1))

    @torch.no_grad()
    def resume(self, inputs: Mapping[str, Tensor], layer: int, hidden_BTD: Tensor) -> Tensor:
        """Return the logits, ``[B, T, V]``, of a forward that starts at a layer; see `starting`."""
        with self.starting(layer, hidden_BTD):
            return self.model(**inputs, use_cache=False).logits

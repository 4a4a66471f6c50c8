"""The blocks that survive, as a sequence of whole layers that is as short as can be.

A sequential decoder is a chain of residual blocks A0 M0 A1 M1 ..., attention and feed-forward.
Any attention with the feed-forward that comes right behind it, whatever layer either is from, is a
layer again; what finds no partner gets one that adds nothing.

Source:   what a stock decoder class can hold; no paper.
"""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from inarch.prune._order import Block, Kind

Format = Literal["plain", "native", "gguf-safe"]
"""How a model is saved; see `inarch.prune._cut`."""


class Slot(NamedTuple):
    """One layer of the smaller model: the layers that its two blocks are from."""

    mha: int | None
    """Source of the attention; None for a pad, which adds nothing to the residual stream."""
    mlp: int | None
    """Source of the feed-forward; None for a pad."""

    @property
    def pads(self) -> tuple[Kind, ...]:
        """The kinds of block that are pads."""
        return tuple(kind for kind in ("mha", "mlp") if getattr(self, kind) is None)


def repack(
    num_layers: int, removed: Collection[Block], *, parallel: bool = False
) -> tuple[Slot, ...]:
    """Return the layers that hold the surviving blocks, in the order of the residual stream.

    There is no choice in it: an attention pairs with the feed-forward that directly follows it
    among the survivors, and only that one.

    Args:
        num_layers: Layers of the model as it is.
        removed: Blocks to leave out, of layers in [0, num_layers).
        parallel: Attention and feed-forward of a layer read the same input, so that only blocks of
            one layer pair.
    """
    slots: list[Slot] = []
    waiting: int | None = None  # an attention that may still get a partner
    for layer in range(num_layers):
        if Block("mha", layer) not in removed:
            if waiting is not None:
                slots.append(Slot(waiting, None))
            waiting = layer
        if Block("mlp", layer) not in removed:
            if waiting is not None and waiting != layer and parallel:
                slots.append(Slot(waiting, None))
                waiting = None
            slots.append(Slot(waiting, layer))
            waiting = None
    return (*slots, Slot(waiting, None)) if waiting is not None else tuple(slots)


def left_out(slots: Sequence[Slot], format: Format) -> frozenset[Block]:
    """Return the pads, by place, that are nothing at all in a format; the others are zeros.

    ``plain`` has them all, ``native`` none, and ``gguf-safe`` what llama.cpp needs: an attention in
    layer 0, and a feed-forward in every layer.
    """
    pads = [Block(kind, place) for place, slot in enumerate(slots) for kind in slot.pads]
    if format == "gguf-safe":
        return frozenset(pad for pad in pads if pad.kind == "mha" and pad.layer > 0)
    return frozenset(pads if format == "native" else ())

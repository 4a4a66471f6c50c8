"""What a cut model weighs, told without making it, and when a search may stop.

Shares are of parameters: a block's own norms go with it, and a norm that both blocks of a layer
need goes with the second of them. A head tied to the embedding counts once.

Source:   BlockPruner, arXiv:2406.10594: ratio = removed / all, embeddings and head among all.
Differs:  the ``plain`` format keeps pads, so what it sheds is less than what was removed; both can
          be told, `removed_frac` and `shed_frac`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from inarch.prune._blocks import BlockModel
from inarch.prune._deci import NARROW
from inarch.prune._fill import KINDS
from inarch.prune._layer_config import homes
from inarch.prune._native import stock_config
from inarch.prune._order import Block
from inarch.prune._repack import Format, Slot, left_out, repack

if TYPE_CHECKING:
    from torch import Tensor


class Count(NamedTuple):
    """Parameters, and what they take."""

    parameters: int
    bytes: int

    def less(self, other: Count) -> Count:
        """Return the difference."""
        return Count(self.parameters - other.parameters, self.bytes - other.bytes)


class Sizes(NamedTuple):
    """What the parts of a model weigh."""

    blocks: Mapping[Block, Count]
    """Each block with its norms."""
    shared: Mapping[int, Count]
    """By layer, what both of its blocks need."""
    embeddings: Count
    """Input embedding and head, once where they are tied."""
    total: Count
    kv_bytes: Mapping[int, int]
    """By layer, bytes that a token takes in the KV cache; within the window, where there is one."""
    kv_stub: int
    """Bytes that a token takes in a layer whose attention is gone."""
    narrow: Mapping[Block, Count]
    """Each feed-forward, were it of zeros for ``gguf-safe``; empty where that format cannot be."""
    only_own: bool
    """Only blocks of one layer may pair when repacked."""


class Target(NamedTuple):
    """When to stop removing."""

    kind: Literal["ratio", "blocks", "bytes", "kv_bytes"]
    """Share of parameters removed, number of blocks removed, bytes of weights or bytes that a token
    takes in the KV cache, both of the cut model in its format."""
    value: float
    embeddings: bool = True
    """Of a ratio: embedding and head count among all parameters, as published."""


def measure(subject: BlockModel) -> Sizes:
    """Return what the parts of a model weigh; it may be on the meta device.

    Two tokens run through it, feed-forwards left out, to see what attention keeps of them.
    """
    model, num = subject.model, subject.num_layers
    heads = [model.get_input_embeddings(), model.get_output_embeddings()]
    tables = [part.weight for part in heads if part is not None]
    ids_12 = torch.zeros(1, 2, dtype=torch.long, device=model.device)
    with torch.no_grad(), subject.without(b for b in subject.blocks if b.kind == "mlp"):
        cache = model(input_ids=ids_12, use_cache=True).past_key_values
    kept = [(layer.keys, layer.values) for layer in cache.layers]
    return Sizes(
        blocks={block: count(subject.parameters_of(block).values()) for block in subject.blocks},
        shared={layer: count(subject.shared_of(layer).values()) for layer in range(num)},
        embeddings=count(tables),
        total=count(model.parameters()),
        kv_bytes={layer: count(pair).bytes // 2 for layer, pair in enumerate(kept)},
        kv_stub=2 * model.dtype.itemsize,
        narrow=_narrow(subject),
        only_own=only_own(subject),
    )


def only_own(subject: BlockModel) -> bool:
    """Return whether only blocks of one layer pair: they read the same input, or share a norm."""
    return subject.parallel or any(subject.shared_of(i) for i in range(subject.num_layers))


def removed_frac(sizes: Sizes, removed: Collection[Block], *, embeddings: bool = True) -> float:
    """Return the parameters of the removed blocks as a share of all, as published.

    Args:
        sizes: Of the model.
        removed: What is gone.
        embeddings: Embedding and head count among all.
    """
    lost = _sum(sizes.blocks[block] for block in set(removed))
    both = (i for i in sizes.shared if {Block("mha", i), Block("mlp", i)} <= set(removed))
    lost = _sum([lost, *(sizes.shared[layer] for layer in both)])
    return lost.parameters / _all(sizes, embeddings)


def shed_frac(
    sizes: Sizes, removed: Collection[Block], format: Format, *, embeddings: bool = True
) -> float:
    """Return what a cut in some format really saves, as a share of all parameters."""
    saved = sizes.total.less(kept(sizes, removed, format))
    return saved.parameters / _all(sizes, embeddings)


def kept(sizes: Sizes, removed: Collection[Block], format: Format) -> Count:
    """Return what the weights of a cut in some format take."""
    slots = _slots(sizes, removed)
    nothing = left_out(slots, format)
    layers = _sum([*sizes.blocks.values(), *sizes.shared.values()])
    parts = [sizes.total.less(layers)]
    for kind in KINDS:
        for place, home in enumerate(homes(slots, kind)):
            is_pad = getattr(slots[place], kind) is None
            if Block(kind, place) in nothing:
                continue
            is_narrow = is_pad and kind == "mlp" and format == "gguf-safe"
            parts.append((sizes.narrow if is_narrow else sizes.blocks)[Block(kind, home)])
    parts += [sizes.shared[home] for home in homes(slots, "mha")]
    return _sum(parts)


def kv_bytes(sizes: Sizes, removed: Collection[Block], format: Format) -> int:
    """Return the bytes that a token takes in the KV cache of a cut in some format."""
    slots = _slots(sizes, removed)
    nothing = left_out(slots, format)
    return sum(
        sizes.kv_stub if Block("mha", place) in nothing else sizes.kv_bytes[home]
        for place, home in enumerate(homes(slots, "mha"))
    )


def reached(
    sizes: Sizes, removed: Collection[Block], target: Target, format: Format = "plain"
) -> bool:
    """Return whether enough has been removed.

    Args:
        sizes: Of the model.
        removed: What is gone so far.
        target: When to stop.
        format: In which the cut model will be saved; of no account for ratios and numbers.
    """
    if target.kind == "blocks":
        return len(set(removed)) >= target.value
    if target.kind == "ratio":
        return removed_frac(sizes, removed, embeddings=target.embeddings) >= target.value
    if target.kind == "bytes":
        return kept(sizes, removed, format).bytes <= target.value
    return kv_bytes(sizes, removed, format) <= target.value


def count(tensors: Iterable[Tensor]) -> Count:
    """Return what tensors take; one that is there twice counts once."""
    unique = {id(tensor): tensor for tensor in tensors}.values()
    return Count(sum(t.numel() for t in unique), sum(t.numel() * t.element_size() for t in unique))


def _sum(counts: Iterable[Count]) -> Count:
    pairs = list(counts)
    return Count(sum(c.parameters for c in pairs), sum(c.bytes for c in pairs))


def _all(sizes: Sizes, embeddings: bool) -> int:
    return (sizes.total if embeddings else sizes.total.less(sizes.embeddings)).parameters


def _slots(sizes: Sizes, removed: Collection[Block]) -> tuple[Slot, ...]:
    return repack(len(sizes.shared), set(removed), parallel=sizes.only_own)


def _narrow(subject: BlockModel) -> dict[Block, Count]:
    """Return what feed-forwards take when they are made narrow."""
    width = getattr(stock_config(subject.model.config), "intermediate_size", None)
    if not width or width % NARROW:
        return {}

    def narrowed(block: Block) -> Count:
        counts = []
        for parameter in subject.parameters_of(block).values():
            share = NARROW / width if width in parameter.shape else 1
            size = int(parameter.numel() * share)
            counts.append(Count(size, size * parameter.element_size()))
        return _sum(counts)

    return {block: narrowed(block) for block in subject.blocks if block.kind == "mlp"}

"""Which units can go next: blocks, neighbours or layers among the survivors."""

import re
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Literal

from inarch.errors import SettingsError
from inarch.prune._order import Block, Kind, Unit

Kinds = Literal["mix", "mha", "mlp"]
Candidates = Callable[[Sequence[Block]], list[Unit]]
"""From the survivors in the order of the stream to what may go, in the order of ties."""


def single(kinds: Kinds, protected: Collection[Block]) -> Candidates:
    """Return the rule that one block goes at a time."""
    wanted: tuple[Kind, ...] = ("mha", "mlp") if kinds == "mix" else (kinds,)
    return lambda alive: sorted(
        (block,) for block in alive if block.kind in wanted and block not in protected
    )


def paired(protected: Collection[Block]) -> Candidates:
    """Return the rule that an attention and a feed-forward block go together.

    They are neighbours in the stream, counting survivors only. Attention and feed-forward then
    still alternate, so that the survivors make up whole layers.
    """

    def rule(alive: Sequence[Block]) -> list[Unit]:
        return sorted(
            tuple(sorted(pair))
            for pair in pairwise(alive)
            if pair[0].kind != pair[1].kind and not set(pair) & set(protected)
        )

    return rule


def layers(protected: Collection[Block]) -> Candidates:
    """Return the rule that all blocks of a layer go together."""

    def rule(alive: Sequence[Block]) -> list[Unit]:
        return [unit for unit in by_layer(alive) if not set(unit) & set(protected)]

    return rule


def by_layer(blocks: Sequence[Block]) -> list[Unit]:
    """Return the blocks as one unit per layer."""
    units: dict[int, list[Block]] = {}
    for block in sorted(blocks, key=lambda block: block.place):
        units.setdefault(block.layer, []).append(block)
    return [tuple(unit) for unit in units.values()]


def parse_protected(names: Sequence[int | str], blocks: Sequence[Block]) -> frozenset[Block]:
    """Return the blocks that must stay.

    Args:
        names: A layer, ``3``, or ``-1`` for the last; a block, ``"mha3"`` or ``"mlp3"``.
        blocks: All blocks of the model.

    Raises:
        SettingsError: No block of the model has that name.
    """
    num_layers = 1 + max(block.layer for block in blocks)
    found: set[Block] = set()
    for name in names:
        match = re.fullmatch(r"(mha|mlp|)(-?\d+)", str(name))
        kind, index = (match[1], int(match[2])) if match else ("?", 0)
        layer = index + num_layers if index < 0 else index
        meant = {b for b in blocks if b.layer == layer and b.kind.startswith(kind)}
        if not meant:
            raise SettingsError(
                f"protect: found {name!r}, which names no block of this model; expected a layer"
                f" from {-num_layers} to {num_layers - 1}, or a block such as mha0 or mlp3"
            )
        found |= meant
    return frozenset(found)

"""The config of a model whose layers are those of another one, fewer and in new pairs.

What a config says of each layer follows the block that reads it: lists by layer follow the
attention, what tells dense feed-forwards from experts follows the feed-forward.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from inarch.prune._repack import Slot

BY_ATTENTION: tuple[str, ...] = (
    "layer_types",
    "no_rope_layers",
    "layer_rope_theta",
    "sliding_windows",
)
"""Lists with one entry per layer, which attention reads."""
BY_FEED_FORWARD: tuple[str, ...] = ("mlp_layer_types",)
"""Lists with one entry per layer, which the feed-forward reads."""
FIRST_ATTENTIONS: tuple[str, ...] = ("max_window_layers",)
"""How many of the first layers differ in their attention."""
FIRST_FEED_FORWARDS: tuple[str, ...] = ("first_k_dense_replace", "num_dense_layers")
"""How many of the first layers differ in their feed-forward."""


def slot_config(config: Any, slots: Sequence[Slot]) -> Any:
    """Return the config of the model whose layers are the slots; the given one is left alone.

    A pad is made as the layer of its partner would have it. Slots may be empty where there are as
    many as layers: each is then in its own place.

    Args:
        config: Of the model that the slots speak of; a nested text config is the one that changes.
        slots: Of `repack`.
    """
    new = copy.deepcopy(config)
    text = new.get_text_config()
    old_num = text.num_hidden_layers
    mha, mlp = homes(slots, "mha"), homes(slots, "mlp")
    for names, layers in ((BY_ATTENTION, mha), (BY_FEED_FORWARD, mlp)):
        for name in names:
            values = getattr(text, name, None)
            if isinstance(values, list) and len(values) == old_num:
                setattr(text, name, [values[layer] for layer in layers])
    for names, layers in ((FIRST_ATTENTIONS, mha), (FIRST_FEED_FORWARDS, mlp)):
        for name in names:
            if isinstance(first := getattr(text, name, None), int):
                setattr(text, name, sum(layer < first for layer in layers))
    if isinstance(experts := getattr(text, "moe_layers", None), list):
        text.moe_layers = [place for place, layer in enumerate(mlp) if layer in experts]
    if isinstance(dense := getattr(text, "mlp_only_layers", None), list):
        step = getattr(text, "decoder_sparse_step", 1)
        is_dense = [layer in dense or (layer + 1) % step != 0 for layer in mlp]
        text.mlp_only_layers = [place for place, alone in enumerate(is_dense) if alone]
        text.decoder_sparse_step = 1
    text.num_hidden_layers = len(slots)
    return new


def homes(slots: Sequence[Slot], kind: str) -> list[int]:
    """Return, for each slot, the layer that a block of a kind is from, or its partner if a pad."""
    other = {"mha": "mlp", "mlp": "mha"}[kind]
    found = []
    for place, slot in enumerate(slots):
        own, partner = getattr(slot, kind), getattr(slot, other)
        found.append(next(layer for layer in (own, partner, place) if layer is not None))
    return found

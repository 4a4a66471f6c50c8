"""``config.json`` of the result, whose layers may come from anywhere."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Layers(NamedTuple):
    """The layers of one stack of the result."""

    module: str
    old: int
    """How many the model has whose config is taken."""
    origins: tuple[tuple[Mapping[str, Any], int], ...]
    """For each layer of the result, the config of the model that it is of, and its number there."""

    @property
    def changed(self) -> bool:
        """Return whether they are other layers, or in another order."""
        return [layer for _, layer in self.origins] != list(range(self.old))


_SECTIONS = {
    "text_decoder": ("text_config", "llm_config", "language_config", "thinker_config"),
    "vision_tower": ("vision_config",),
    "audio_tower": ("audio_config",),
}
_COUNTS = {
    "encoder": ("encoder_layers", "num_encoder_layers", "num_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers"),
}
_COUNT = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
"""What configs call the number of layers."""
_PER_LAYER = re.compile(r"layer|block|_types$|heads|pattern|window")
_BY_NUMBER = (
    "attn_layer_period",
    "decoder_sparse_step",
    "expert_layer_period",
    "first_k_dense_replace",
    "full_attention_interval",
    "interleave_moe_layer_step",
    "moe_layer_freq",
    "no_rope_layer_interval",
    "sliding_window_pattern",
)
"""Keys by which a layer's kind follows from its number."""


def rewrite(
    config: Mapping[str, Any], stacks: Sequence[Layers], dtype: str, untied: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the config of the result, and what the user should know about it.

    Args:
        config: Of the model that the result takes after.
        stacks: All layers of the result.
        dtype: Number format that most of the result has, as torch calls it.
        untied: The result has a head of its own, and that model has none.
    """
    made = _with_dtype(
        {key: value for key, value in config.items() if key != "_name_or_path"}, dtype
    )
    if not {"dtype", "torch_dtype"} & made.keys():
        made["torch_dtype"] = dtype
    if untied:
        made["tie_word_embeddings"] = False
        for key in set(_SECTIONS["text_decoder"]) & made.keys():
            made[key] = made[key] and {**made[key], "tie_word_embeddings": False}
    notes: list[str] = []
    for layers in stacks:
        if layers.changed:
            inner = next((key for key in _SECTIONS.get(layers.module, ()) if config.get(key)), None)
            part, found = _renumber(config if inner is None else config[inner], layers, inner)
            made = made | part if inner is None else made | {inner: made[inner] | part}
            notes += found
    return made, notes


def _with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return a config, and the sections in it, with another number format where it names one."""
    made = dict(config)
    for key, value in config.items():
        if key in ("dtype", "torch_dtype") and value is not None:
            made[key] = dtype
        elif key.endswith("_config") and isinstance(value, dict):
            made[key] = _with_dtype(value, dtype)
    return made


def _renumber(
    part: Mapping[str, Any], layers: Layers, section: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Return what changes in a config, or a section of one, and notes."""
    new, origins = (
        len(layers.origins),
        [
            (origin if section is None else origin.get(section) or {}, layer)
            for origin, layer in layers.origins
        ],
    )
    made: dict[str, Any] = {
        key: new for key in _COUNTS.get(layers.module, _COUNT) if part.get(key) == layers.old
    }
    notes = []
    if not made and new != layers.old:
        notes.append(
            f"no key of config.json says {layers.old} layers; write {new} where it belongs"
        )
    for key, value in part.items():
        if isinstance(value, list) and len(value) == layers.old and _PER_LAYER.search(key):
            lists = [(origin.get(key, value), layer) for origin, layer in origins]
            made[key] = [values[min(layer, len(values) - 1)] for values, layer in lists]
        elif key == "mlp_only_layers" and value:
            made[key] = [i for i, (one, layer) in enumerate(origins) if layer in one.get(key, ())]
        elif key == "max_window_layers" and isinstance(value, int):
            full = [layer < one.get(key, value) for one, layer in origins]
            made[key] = sum(full)
            if full != sorted(full, reverse=True) and part.get("use_sliding_window"):
                notes.append(f"{key} can only speak of the lowest layers, and these are mixed")
        elif key in _BY_NUMBER and value not in (None, 0, 1) and "layer_types" not in part:
            notes.append(f"by {key} in config.json, a layer's kind follows from its new number")
    return made, notes

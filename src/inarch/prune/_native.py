"""The plan by which `inarch.io.modeling_inarch_pruned` builds a model that lacks some blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from inarch.io.modeling_inarch_pruned import MODEL_TYPE, PLAN, PrunedConfig
from inarch.prune._blocks import BlockModel
from inarch.prune._deci import NARROW, block_configs, refuse_unlike_llama
from inarch.prune._fill import own_names, part_names
from inarch.prune._layer_config import homes
from inarch.prune._order import Block, Kind
from inarch.prune._repack import Format, Slot, left_out

SKIP: dict[Kind, str] = {"mha": "attention", "mlp": "mlp"}
"""What the ``skip`` of ``per_layer_config`` calls the blocks."""


def pruned_config(subject: BlockModel, config: Any, slots: Sequence[Slot], format: Format) -> Any:
    """Return the config of a pruned model.

    Args:
        subject: The model that is cut.
        config: Of the stock class, with as many layers as slots, as `slot_config` makes it.
        slots: The layers of the cut model.
        format: ``native`` or ``gguf-safe``.

    Raises:
        SettingsError: llama.cpp and vLLM could not load it as ``gguf-safe``.
    """
    gone = sorted(left_out(slots, format), key=lambda block: (block.layer, block.kind))
    plan = {
        "base_model_type": config.model_type,
        "layers": subject.layers_path,
        "gone": [_describe(subject, slots, block) for block in gone],
        "narrow": [],
        "guarded": True,
    }
    keys = config.to_dict() | {PLAN: {"build": plan}}
    text = config.get_text_config()  # in models that see, the config is that of a part
    nested = (keys[name] for name in config.sub_configs if getattr(config, name) is text)
    next(nested, keys)["per_layer_config"] = _skips(gone)
    if format == "gguf-safe":
        refuse_unlike_llama(config)
        lone = [place for place, slot in enumerate(slots) if slot.mlp is None]
        plan["narrow"] = [{"layer": place, "module": "mlp", "to": NARROW} for place in lone]
        plan["width"] = config.intermediate_size
        plan["guarded"] = False  # vLLM and llama.cpp take no tensor that they do not know
        keys["block_configs"] = block_configs(config, slots)
    new = PrunedConfig.from_dict(keys)
    new._attn_implementation = config._attn_implementation
    return new


def _skips(gone: Iterable[Block]) -> dict[str, dict[str, list[str]]]:
    skips: dict[str, dict[str, list[str]]] = {}
    for block in gone:
        skips.setdefault(str(block.layer), {"skip": []})["skip"].append(SKIP[block.kind])
    return skips


def stock_config(config: Any) -> Any:
    """Return the config of the stock class that a pruned model is built of; others as they are."""
    if type(config).model_type != MODEL_TYPE:
        return config
    plain = config.to_dict()
    for key in ("model_type", "per_layer_config", "block_configs", "auto_map", "architectures"):
        plain.pop(key, None)
    base_type = plain.pop(PLAN)["build"]["base_model_type"]
    if plain.get("intermediate_size", 0) is None:  # as the dict of an uneven model has it
        plain["intermediate_size"] = config.intermediate_size
    new = CONFIG_MAPPING[base_type].from_dict(plain)
    new._attn_implementation = config._attn_implementation
    return new


def _describe(subject: BlockModel, slots: Sequence[Slot], block: Block) -> dict[str, Any]:
    """Return what stands in for a block of the cut model, as its layer there has it."""
    home = Block(block.kind, homes(slots, block.kind)[block.layer])
    for known in getattr(subject.model.config, PLAN, {}).get("build", {}).get("gone", ()):
        if (known["kind"], known["layer"]) == home:
            return known | {"layer": block.layer}
    parts, names = part_names(subject, home), own_names(subject, home)
    outside = [n for n in names if not n.startswith(tuple(f"{part}." for part in parts))]
    slot = subject._slots[home]
    return {
        "kind": block.kind,
        "layer": block.layer,
        "modules": list(parts),
        "norms": sorted({name.rpartition(".")[0] for name in outside}),
        "weight": (outside or list(names))[0],
        "sums": slot.residual is not None,
        "returned": slot.returned,
    }

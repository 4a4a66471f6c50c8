"""The plan by which `inarch.io.modeling_inarch_pruned` builds a model that lacks some blocks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from inarch.io.modeling_inarch_pruned import MODEL_TYPE, PLAN, PrunedConfig
from inarch.prune._blocks import BlockModel
from inarch.prune._deci import (
    NARROW,
    block_configs,
    deci_gone,
    deci_narrow,
    refuse_unlike_llama,
)
from inarch.prune._fill import own_names, part_names
from inarch.prune._layer_config import homes
from inarch.prune._order import Block, Kind
from inarch.prune._repack import Slot

SKIP: dict[Kind, str] = {"mha": "attention", "mlp": "mlp"}
"""What the ``skip`` of ``per_layer_config`` calls the blocks."""


def native_config(
    subject: BlockModel, config: Any, slots: Sequence[Slot], gone: Collection[Block]
) -> Any:
    """Return the config of a pruned model.

    Args:
        subject: The model that is cut.
        config: Of the stock class, with as many layers as slots, as `slot_config` makes it.
        slots: The layers of the cut model.
        gone: Which blocks of the slots are not to be, by place in the cut model.
    """
    plan = {
        "base_model_type": config.model_type,
        "layers": subject.layers_path,
        "gone": [_describe(subject, slots, block) for block in sorted(gone, key=_by_place)],
        "narrow": [],
        "guarded": True,
    }
    return _made(config, plan, {})


def deci_config(subject: BlockModel, config: Any, slots: Sequence[Slot]) -> Any:
    """Return the config of a pruned model that llama.cpp and vLLM know as DeciLM.

    Raises:
        SettingsError: They would not.
    """
    refuse_unlike_llama(config)
    gone, narrow = deci_gone(slots), deci_narrow(slots)
    plan = {
        "base_model_type": config.model_type,
        "layers": subject.layers_path,
        "gone": [_describe(subject, slots, block) for block in sorted(gone, key=_by_place)],
        "narrow": [{"layer": place, "module": "mlp", "to": NARROW} for place in narrow],
        "guarded": False,  # vLLM and llama.cpp take no tensor that they do not know
        "width": config.intermediate_size,
    }
    return _made(config, plan, {"block_configs": block_configs(config, slots)})


def _made(config: Any, plan: dict[str, Any], more: dict[str, Any]) -> Any:
    skips: dict[str, dict[str, list[str]]] = {}
    for block in plan["gone"]:
        skips.setdefault(str(block["layer"]), {"skip": []})["skip"].append(SKIP[block["kind"]])
    keys = config.to_dict() | {PLAN: {"build": plan}, "per_layer_config": skips} | more
    new = PrunedConfig.from_dict(keys)
    new._attn_implementation = config._attn_implementation
    return new


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


def _by_place(block: Block) -> tuple[int, str]:
    return block.layer, block.kind

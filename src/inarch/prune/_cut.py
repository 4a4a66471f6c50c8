"""A model without some of its blocks, as a smaller model that is real.

    plain      whole layers of the stock class; a lone block gets a partner of zeros
    native     nothing but what survived; a type of its own, `inarch.io.modeling_inarch_pruned`
    gguf-safe  as native, within what llama.cpp and vLLM can load: `inarch.prune._deci`

In each, survivors are first repacked into as few layers as can be; where that leaves no pad, all
three are the stock class. The logits are those of the masked model, bit for bit: a pad adds zeros,
and nothing else is computed differently.

Source:   what transformers, llama.cpp and vLLM load; BlockPruner saves no model.
Differs:  MultiPruner patches transformers, EvoPress pickles the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from transformers import AutoModelForCausalLM

from inarch.errors import SettingsError
from inarch.io.modeling_inarch_pruned import PLAN, classes
from inarch.prune._blocks import BlockModel
from inarch.prune._fill import fill, moved
from inarch.prune._layer_config import slot_config
from inarch.prune._native import pruned_config, stock_config
from inarch.prune._order import Block, Step, name_of
from inarch.prune._repack import Format, Slot, repack
from inarch.prune._sizes import only_own

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

FORMATS: tuple[Format, ...] = get_args(Format)


def cut(
    subject: BlockModel,
    steps: Sequence[Step],
    format: Format = "plain",
    *,
    data_digest: str | None = None,
) -> PreTrainedModel:
    """Return the model without the blocks of some steps, ready for ``save_pretrained``.

    Its parameters are those of the subject's model, not copies: training the one changes the other.
    Only pads take memory of their own. What went, by which score, and from which layers each new
    layer is are in the config, under ``inarch_prune``.

    Args:
        subject: The model; one that was cut before may be cut again.
        steps: What to remove, in the order of removal.
        format: See the module.
        data_digest: Digest of the calibration data, for the record.

    Raises:
        SettingsError: There is no such block, none is left, or the format cannot hold this model.
    """
    config = subject.model.config
    taken = [block for step in steps for block in step.unit]
    if absent := sorted({*taken} - {*subject.blocks} | {*taken} & gone(config)):
        raise SettingsError(
            f"found {name_of(absent)} among the blocks to remove, which this model does not have;"
            f" expected blocks of its {subject.num_layers} layers that no earlier cut took"
        )
    removed = gone(config) | set(taken)
    slots = repack(subject.num_layers, removed, parallel=only_own(subject))
    if not slots:
        raise SettingsError("found no block that survives, expected one at least; remove fewer")
    new = _made(subject, slots, format)
    if change := moved(subject, new, slots):
        if format != "native":
            raise SettingsError(
                f"{change}, and the config of this class cannot say so; expected layers that do the"
                " same in any place. Take the format native, which leaves them in theirs"
            )
        slots = in_place(subject.num_layers, removed)
        new = _made(subject, slots, format)
    record = _record(config, steps, slots, data_digest)
    setattr(new.config, PLAN, {"format": format} | record | getattr(new.config, PLAN, {}))
    return new


def gone(config: PretrainedConfig) -> frozenset[Block]:
    """Return the blocks that an earlier cut left empty: they add nothing, and are no candidates."""
    sources = _sources(config)
    return frozenset(Block(kind, layer) for layer, slot in enumerate(sources) for kind in slot.pads)


def _sources(config: PretrainedConfig) -> list[Slot]:
    """Return what an earlier cut says its layers are from; nothing, if they changed since."""
    slots = [Slot(*slot) for slot in getattr(config, PLAN, {}).get("source_blocks", ())]
    return slots if len(slots) == config.get_text_config().num_hidden_layers else []


def _made(subject: BlockModel, slots: Sequence[Slot], format: Format) -> PreTrainedModel:
    stock = slot_config(stock_config(subject.model.config), slots)
    vars(stock).pop(PLAN, None)  # the record of an earlier cut
    if format == "plain" or not any(slot.pads for slot in slots):
        own = type(subject.model)
        is_stock = type(stock) is own.config_class
        model_class = own if is_stock else AutoModelForCausalLM._model_mapping[type(stock)]
        return fill(subject, model_class, stock, slots)
    config = pruned_config(subject, stock, slots, format)
    _, model_class = classes(stock.model_type, is_deci=format == "gguf-safe")
    return fill(subject, model_class, config, slots)


def in_place(num_layers: int, removed: Iterable[Block]) -> tuple[Slot, ...]:
    """Return one slot for each layer, in its place, also where both its blocks are gone."""
    without = set(removed)
    return tuple(
        Slot(*(None if Block(kind, layer) in without else layer for kind in ("mha", "mlp")))
        for layer in range(num_layers)
    )


def _record(
    config: PretrainedConfig, steps: Sequence[Step], slots: Sequence[Slot], digest: str | None
) -> dict[str, Any]:
    """Return what the config says of the cut, in layers of the model before any cut."""
    sources = _sources(config)
    before = getattr(config, PLAN, {}).get("removed_blocks", ()) if sources else ()

    def origin(kind: str, layer: int | None) -> int | None:
        return getattr(sources[layer], kind) if sources and layer is not None else layer

    removed = [
        {
            "kind": block.kind,
            "layer": origin(block.kind, block.layer),
            "score": step.score if math.isfinite(step.score) else None,
        }
        for step in steps
        for block in step.unit
    ]
    return {
        "source_blocks": [[origin("mha", s.mha), origin("mlp", s.mlp)] for s in slots],
        "removed_blocks": [*before, *removed],
        "data_digest": digest,
    }

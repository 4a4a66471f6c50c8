"""A model without some of its blocks, as a smaller model that is real.

    plain      whole layers of the stock class; a lone block gets a partner of zeros
    native     nothing but what survived; a type of its own, `inarch.io.modeling_inarch_pruned`
    gguf-safe  as native, within what llama.cpp and vLLM can load: `inarch.prune._deci`

In each, survivors are first repacked into as few layers as can be. The logits are those of the
masked model, bit for bit: a pad adds zeros, and nothing else is computed differently.

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
from inarch.prune._native import deci_config, native_config, stock_config
from inarch.prune._order import Block, Step, name_of
from inarch.prune._repack import Slot, repack
from inarch.prune._sizes import Format, only_own

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
    if format == "native":
        new, slots = _native(subject, slots, removed)
    elif format == "gguf-safe" and any(slot.pads for slot in slots):
        new = _gguf_safe(subject, slots)
    else:
        new = _plain(subject, slots)
    record = _record(config, steps, slots, data_digest)
    setattr(new.config, PLAN, {"format": format} | record | getattr(new.config, PLAN, {}))
    return new


def gone(config: PretrainedConfig) -> frozenset[Block]:
    """Return the blocks that an earlier cut left empty: they add nothing, and are no candidates."""
    sources = getattr(config, PLAN, {}).get("source_blocks", ())
    return frozenset(
        Block(kind, layer) for layer, slot in enumerate(sources) for kind in Slot(*slot).pads
    )


def _plain(subject: BlockModel, slots: Sequence[Slot]) -> PreTrainedModel:
    config = slot_config(stock_config(subject.model.config), slots)
    vars(config).pop(PLAN, None)  # the record of an earlier cut
    own = type(subject.model)
    is_stock = type(config) is own.config_class
    model_class = own if is_stock else AutoModelForCausalLM._model_mapping[type(config)]
    new = fill(subject, model_class, config, slots)
    if change := moved(subject, new, slots):
        raise SettingsError(
            f"{change}, and the config of this class cannot say so; expected layers that do the"
            " same in any place. Take the format native, which leaves them in theirs"
        )
    return new


def _native(
    subject: BlockModel, slots: tuple[Slot, ...], removed: frozenset[Block]
) -> tuple[PreTrainedModel, tuple[Slot, ...]]:
    def made(slots: Sequence[Slot]) -> PreTrainedModel:
        pads = {Block(kind, i) for i, slot in enumerate(slots) for kind in slot.pads}
        stock = slot_config(stock_config(subject.model.config), slots)
        config = native_config(subject, stock, slots, pads)
        return fill(subject, classes(stock.model_type)[1], config, slots)

    new = made(slots)
    if moved(subject, new, slots):
        slots = in_place(subject.num_layers, removed)
        new = made(slots)
    return new, slots


def _gguf_safe(subject: BlockModel, slots: Sequence[Slot]) -> PreTrainedModel:
    stock = slot_config(stock_config(subject.model.config), slots)
    config = deci_config(subject, stock, slots)
    return fill(subject, classes(stock.model_type, is_deci=True)[1], config, slots)


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
    before = getattr(config, PLAN, {})
    sources = [Slot(*slot) for slot in before.get("source_blocks", ())]

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
        "removed_blocks": [*before.get("removed_blocks", ()), *removed],
        "data_digest": digest,
    }

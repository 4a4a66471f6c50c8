"""The ``gguf-safe`` format: what llama.cpp and vLLM load of a Llama whose layers differ.

Both know it as DeciLM, with what each layer has in ``block_configs``.

    layer 0            keeps an attention, of zeros if need be: llama.cpp takes the width of heads
                       from there, vLLM starts its residual stream there
    feed-forward gone  stays as one of zeros, `NARROW` wide: llama.cpp leaves the whole layer out,
                       its attention too, where there is no feed-forward
    attention gone     is not there

Source:   llama.cpp, conversion/deci.py and src/models/deci.cpp; vLLM, models/nemotron_nas.py.
Differs:  no GGUF is written here: llama.cpp's own converter does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inarch.errors import SettingsError
from inarch.prune._order import Block
from inarch.prune._repack import Slot, left_out

NARROW = 256
"""Width of a feed-forward of zeros: converters know widths in multiples of this."""


def refuse_unlike_llama(config: Any) -> None:
    """Raise SettingsError where llama.cpp and vLLM could not load the model as DeciLM.

    Args:
        config: Of the stock class.
    """
    reason = None
    if config.model_type not in ("llama", "mistral"):
        reason = f"model type {config.model_type}, not llama or mistral"
    elif getattr(config, "sliding_window", None):
        reason = f"a sliding window of {config.sliding_window} tokens"
    elif getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        reason = "layers with biases"
    elif config.hidden_act != "silu":
        reason = f"the activation {config.hidden_act}, not silu"
    elif config.intermediate_size % NARROW:
        reason = f"intermediate_size {config.intermediate_size}, no multiple of {NARROW}"
    elif (config.head_dim or 0) * config.num_attention_heads not in (0, config.hidden_size):
        reason = f"heads of {config.head_dim}, not hidden_size / num_attention_heads"
    if reason:
        raise SettingsError(
            f"the format gguf-safe cannot hold this model: found {reason}; expected a Llama, as"
            " llama.cpp and vLLM load no others whose layers differ. Take the format plain, which"
            " both load as it is, or pair the removals so that no pad is needed"
        )


def block_configs(config: Any, slots: Sequence[Slot]) -> list[dict[str, dict[str, Any]]]:
    """Return what DeciLM's config says of each layer.

    Args:
        config: Of the stock class.
        slots: The layers of the cut model.
    """
    gone = left_out(slots, "gguf-safe")
    group = config.num_attention_heads // config.num_key_value_heads

    def layer(place: int, slot: Slot) -> dict[str, dict[str, Any]]:
        has_none = Block("mha", place) in gone
        width = NARROW if slot.mlp is None else config.intermediate_size
        # Read as int(2 * ffn_mult * hidden_size / 3), rounded up to a multiple of NARROW.
        mult = 1.5 * width / config.hidden_size
        attention = {"n_heads_in_group": None if has_none else group, "no_op": has_none}
        return {
            "attention": attention | {"replace_with_linear": False},
            "ffn": {"ffn_mult": mult, "no_op": False, "replace_with_linear": False},
        }

    return [layer(place, slot) for place, slot in enumerate(slots)]

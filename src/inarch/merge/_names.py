"""What the name of a tensor tells: its module, its stack of layers, its place there.

A layer is a number behind the word ``layers``, ``layer``, ``h``, ``block``, ``blocks`` or
``resblocks``, the first such in the name: ``model.layers.3.mlp.experts.7.w1.weight`` is of layer 3,
and 7 is an expert. What is in front of the number is the layer's stack. Most models are one module;
those that see or hear, and those with an encoder and a decoder, are several, under the names that
mergekit gives them.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

DEFAULT = "default"
"""The module of a model that is only one."""


class Place(NamedTuple):
    """Where a tensor belongs."""

    stack: str | None
    """What is in front of the layer's number, such as ``model.layers``; None outside of layers."""
    layer: int
    """The number; 0 outside of layers."""
    rest: str
    """What is behind the number; the whole name outside of layers."""

    def at(self, layer: int) -> str:
        """Return the name of the tensor in the place of another layer."""
        return self.rest if self.stack is None else f"{self.stack}.{layer}.{self.rest}"


_LAYER = re.compile(r"((?:.*?\.)?(?:layers|layer|h|blocks|block|resblocks))\.(\d+)\.(.+)")
_BEHIND = re.compile(
    r"(^|\.)(norm|norm_f|ln_f|final_layer_?norm|lm_head|embed_out|output|output_layer|project_out"
    r"|score|classifier|pooler|qa_outputs|cls|vocab_projector|vocab_transform|vocab_layer_norm"
    r"|post_layernorm|ln_post)(\.|$)"
)
_BUFFER = re.compile(r"(^|\.)(inv_freq|masked_bias|position_ids)$|(^|\.)(attn|attention)\.(bias)$")
_OLD = {
    r"^(?=(h\.\d+|wte|wpe|ln_f)\.)": "transformer.",
    r"(LayerNorm)\.gamma$": r"\1.weight",
    r"(LayerNorm)\.beta$": r"\1.bias",
}
_HEAD = re.compile(
    r"(^|\.)(lm_head|lm_head\.decoder|embed_out|output_layer|vocab_projector"
    r"|cls\.predictions\.decoder)\.weight$|^output\.weight$"
)
_EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings|shared|backbone\.embeddings)"
    r"\.weight$"
)
_MODULES = {
    "vision_tower": r"(^|\.)(vision_tower|vision_model|vision_encoder|visual|vision)\.",
    "audio_tower": r"(^|\.)(audio_tower|audio_encoder)\.",
    "multi_modal_projector": r"(^|\.)(multi_modal_projector|mm_projector|connector)\.|\.merger\.",
}
_ENCODER, _DECODER = (re.compile(rf"^(model\.)?{side}coder\.") for side in ("en", "de"))


def canonical(name: str) -> str:
    """Return the name that new files give a tensor: old ones of GPT-2 and BERT have others."""
    for old, new in _OLD.items():
        name = re.sub(old, new, name)
    return name


def place(name: str) -> Place:
    """Return where a tensor belongs."""
    found = _LAYER.fullmatch(name)
    return Place(found[1], int(found[2]), found[3]) if found else Place(None, 0, name)


def is_behind(name: str) -> bool:
    """Return whether a tensor outside of layers comes after them: the last norm, the head."""
    return bool(_BEHIND.search(name))


def is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a tensor is no weight: rotary frequencies, positions, masks, in old files.

    The ``attn.bias`` of GPT-2 is a mask, ``[1, 1, T, T]``, unlike all other biases.
    """
    found = _BUFFER.search(name)
    return bool(found) and (not found[4] or len(shape) == 4)  # type: ignore[index]


def is_head(name: str) -> bool:
    """Return whether a tensor turns states into tokens, and may be tied to the embedding."""
    return bool(_HEAD.search(name))


def is_embedding(name: str) -> bool:
    """Return whether a tensor turns tokens into states."""
    return bool(_EMBEDDING.search(name))


def modules(names: Iterable[str]) -> dict[str, str]:
    """Return the module of each tensor."""
    names = list(names)
    parts = {name: _part(name) for name in names}
    if any(parts.values()):
        return {name: part or "text_decoder" for name, part in parts.items()}
    sides = [any(side.search(name) for name in names) for side in (_ENCODER, _DECODER)]
    if not all(sides):
        return dict.fromkeys(names, DEFAULT)
    return {name: _side(name) for name in names}


def _part(name: str) -> str | None:
    if re.search(r"\.merger\.", name):
        return "multi_modal_projector"
    return next((part for part, pattern in _MODULES.items() if re.search(pattern, name)), None)


def _side(name: str) -> str:
    if name.startswith(("shared.", "model.shared.")):
        return "shared"
    return "encoder" if _ENCODER.search(name) else "decoder"

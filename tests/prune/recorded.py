"""The orders that the reference's two lists record: Llama-2-7B, Alpaca, 32 and 64 samples."""

from tests.prune.made_up import block

_TEXTS = {
    "ns32": "mha27 mha25 mha28 mha23 mha24 mha29 mha7 mlp6 mha18 mha19 mlp26 mha30 mha21 mlp23"
    " mlp24 mha12 mlp12 mlp9 mha10 mlp18",
    "ns64": "mha25 mha27 mha24 mha23 mha28 mha29 mha8 mlp7 mha19 mha30 mlp22 mha21 mlp27 mha18"
    " mlp21 mlp11 mha12 mha14 mlp14 mlp24",
}
ORDERS = {name: [block(word) for word in text.split()] for name, text in _TEXTS.items()}

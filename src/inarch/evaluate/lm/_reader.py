"""A model that questions are put to, and how much it reads at once."""

from __future__ import annotations

from typing import Any, NamedTuple


class Reader(NamedTuple):
    """A model with its tokenizer."""

    model: Any
    """A causal LM in evaluation mode, on its device."""
    hf: Any
    """Its Hugging Face tokenizer."""
    window: int
    """Tokens that it reads at most; prompts are cut at their begin."""
    batch_tokens: int = 4096
    """Tokens that run together, those to be written included."""

"""What each token of a laid-out batch sees, in the form that a model takes.

Shapes: R = rows of the batch, W = their width; q is the token that looks, k the one looked at.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inarch.align._layout import Batch


def model_inputs(model: Any, batch: Batch) -> dict[str, Any]:
    """Return the arguments of a model's forward.

    Args:
        model: A causal LM, wrapped or not.
        batch: From `batch_of`.
    """
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"]}
    if "units_RW" not in batch:
        return inputs | {"attention_mask": batch["attention_mask"]}
    inputs["position_ids"] = batch["position_ids"]
    config = config_of(model)
    if not is_flash(config):  # which finds the borders by the positions
        inputs["attention_mask"] = _masks(config, batch, _bare(model).dtype)
    return inputs


def config_of(model: Any) -> Any:
    """Return the config of a model, wrapped or not."""
    return _bare(model).config.get_text_config()


def _bare(model: Any) -> Any:
    while not hasattr(model, "config"):
        model = getattr(model, "module", None) or model._orig_mod
    return model


def is_flash(config: Any) -> bool:
    """Return whether attention is that of the package flash-attn, or of a kernel like it."""
    return "flash" in str(config._attn_implementation)


def _masks(config: Any, batch: Batch, dtype: torch.dtype) -> Any:
    """Return one mask, or one for each kind of layer where some have a sliding window."""
    seen = visible(batch)
    kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)

    def form(mask: Tensor) -> Tensor:
        mask = mask[:, None]
        if config._attn_implementation != "eager":
            return mask
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(
            ~mask, torch.finfo(dtype).min
        )

    if window is None or (kinds and "sliding_attention" not in kinds):
        return form(seen)
    near = form(visible(batch, window))
    return {"full_attention": form(seen), "sliding_attention": near} if kinds else near


def visible(batch: Batch, window: int | None = None) -> Tensor:
    """Return which tokens see which: of their unit, the prompt and their own answer, up to them.

    Args:
        batch: From `batch_of`, packed or shared.
        window: How many tokens back a token sees, itself included.

    Returns:
        Booleans, ``[R, W, W]``.
    """
    units_RW, branches_RW = batch["units_RW"], batch["branches_RW"]
    seen = units_RW[:, :, None] == units_RW[:, None]
    seen &= (branches_RW[:, None] == 0) | (branches_RW[:, :, None] == branches_RW[:, None])
    seen.tril_()
    if window is not None:
        positions_RW = batch["position_ids"]
        seen &= positions_RW[:, :, None] - positions_RW[:, None] < window
    return seen

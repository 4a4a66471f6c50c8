"""Products with weights by oneDNN, in float32 on a processor, at the precision of float32.

PyTorch has oneDNN within but calls MKL for these products, which on processors of other makers than
Intel takes twice the time; compiled models call oneDNN as here. The sums are of another order, so
that results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from inarch.numerics.patch import patched


def with_onednn(model: nn.Module) -> AbstractContextManager[None]:
    """Return a block in which plain linear layers run by oneDNN, where that is possible.

    Without gradients only.

    Args:
        model: Any model; layers on an accelerator, or of another number format, stay as they are.
    """
    if not _has_onednn():
        return patched([])
    layers = (module for module in model.modules() if type(module) is nn.Linear)
    return patched([(layer, _forward(layer)) for layer in layers if _is_plain(layer)])


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _is_plain(layer: nn.Linear) -> bool:
    weight = layer.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.layout == torch.strided
        and weight.is_contiguous()
        and weight.numel() > 0
        and "forward" not in layer.__dict__  # accelerate's, which moves the weights
    )


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    product: Any = torch.ops.mkldnn._linear_pointwise

    def forward(hidden: Tensor) -> Tensor:
        if hidden.dtype != torch.float32 or not hidden.numel():
            return nn.functional.linear(hidden, layer.weight, layer.bias)
        result: Tensor = product(hidden, layer.weight, layer.bias, "none", [], "")
        return result

    return forward

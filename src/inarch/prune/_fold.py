"""Later layers folded into an earlier one, as LaCo does.

Only the weights of the attention and feed-forward modules take part; the norms of the layer that
takes the others in stay its own, as in the released code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inarch.errors import WeightsError
from inarch.prune._blocks import BlockModel
from inarch.prune._order import Step
from inarch.prune._subject import Fold, Formula


def folds_of(steps: Iterable[Step]) -> list[Fold]:
    """Return what the steps fold, in their order."""
    return [
        Fold(step.into, tuple(sorted({block.layer for block in step.unit})))
        for step in steps
        if step.into is not None
    ]


@torch.no_grad()
def fold(model: BlockModel, folds: Sequence[Fold], formula: Formula = "sum") -> None:
    """Change the weights of the layers that take others in, one fold after the other.

    ``sum`` (the paper): w <- w + sum_k (w_k - w), in float32. ``last`` (the released code, whose
    differences are to what the layer has become, so that they telescope): w <- w_last.

    Args:
        model: The model; its folded layers stay, and are to be removed.
        folds: As `folds_of` returns them.
        formula: Which.

    Raises:
        WeightsError: Weights of two layers differ in name or shape.
    """
    for into, layers in folds:
        others = [_weights(model, layer) for layer in layers]
        for name, weight in _weights(model, into).items():
            terms = [other.get(name) for other in others]
            if any(term is None or term.shape != weight.shape for term in terms):
                raise WeightsError(
                    f"layer {into} cannot take in {', '.join(map(str, layers))}: their {name} are"
                    " not alike; expected layers of one shape; use another method"
                )
            weight.copy_(_folded(weight, [term for term in terms if term is not None], formula))


@contextmanager
def folded(model: BlockModel, folds: Sequence[Fold], formula: Formula) -> Iterator[None]:
    """Within, the folds hold, and the layers that were folded are left out."""
    before = {into: {n: w.clone() for n, w in _weights(model, into).items()} for into, _ in folds}
    gone = {layer for _, layers in folds for layer in layers}
    try:
        fold(model, folds, formula)
        with model.without(block for block in model.blocks if block.layer in gone):
            yield
    finally:
        with torch.no_grad():
            for into, weights in before.items():
                for name, weight in _weights(model, into).items():
                    weight.copy_(weights[name])


def _folded(weight: Tensor, terms: list[Tensor], formula: Formula) -> Tensor:
    if formula == "last":
        return terms[-1]
    own = weight.float()
    return own + torch.stack([term.float() - own for term in terms]).sum(0)


def _weights(model: BlockModel, layer: int) -> dict[str, nn.Parameter]:
    """Return the parameters of the attention and feed-forward modules of a layer."""
    return {
        f"{block.kind}.{i}.{name}": parameter
        for block in model.blocks
        if block.layer == layer
        for i, part in enumerate(model.parts(block))
        for name, parameter in part.named_parameters()
    }

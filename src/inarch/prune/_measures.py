"""The residual stream of the whole model, and how alike two of its places are.

Shapes: B = rows, T = tokens, D = hidden width, N = positions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from math import pi
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from inarch.prune._blocks import BlockModel
from inarch.prune._loss import Batch
from inarch.prune._subject import Measure


def cosine(before_ND: Tensor, after_ND: Tensor) -> Tensor:
    """Return the cosine between the states of each position, ``[N]``."""
    return cosine_similarity(before_ND, after_ND, dim=-1)


def angle(before_ND: Tensor, after_ND: Tensor) -> Tensor:
    """Return the angle between the states of each position over pi, in [0, 1], ``[N]``."""
    return cosine(before_ND, after_ND).clamp(-1, 1).arccos() / pi


def magnitude(before_ND: Tensor, after_ND: Tensor) -> Tensor:
    """Return the length of what was added over the length of the sum, ``[N]``."""
    return (after_ND - before_ND).norm(dim=-1) / after_ND.norm(dim=-1)


def contrast(
    model: BlockModel,
    batch: Batch,
    places: Sequence[tuple[int, int]],
    measure: Measure,
    positions: Literal["all", "last"],
) -> list[tuple[float, int]]:
    """Return the sum of a measure over a batch, and over how many positions, for each pair."""
    stream = stream_of(model, batch, {place for pair in places for place in pair})
    sums = []
    for before, after in places:
        values = [
            measure(*(stream[place][b, _last(num, positions)].float() for place in (before, after)))
            for b, num in enumerate(batch.num_tokens)
        ]
        values_N = torch.cat(values)
        sums.append((values_N.double().sum().item(), len(values_N)))
    return sums


def _last(num: int, positions: Literal["all", "last"]) -> slice:
    return slice(0 if positions == "all" else num - 1, num)


@torch.no_grad()
def stream_of(model: BlockModel, batch: Batch, places: Collection[int]) -> dict[int, Tensor]:
    """Return the states at some places of the whole model, ``[B, T, D]`` each.

    Between the blocks of a layer stands what the layer puts out without its feed-forward block.
    """
    layers = {layer for place in places for layer in (place // 2, (place + 1) // 2)}
    with model.watching(layers) as seen:
        model.model(**batch.inputs, use_cache=False)
    stream = {2 * layer: hidden_BTD for layer, hidden_BTD in seen.items()}
    for place in sorted(p for p in places if p % 2):
        behind = [block for block in model.blocks if block.place >= place]
        with (
            model.without(behind),
            model.starting(place // 2, seen[place // 2]),
            model.watching([model.num_layers]) as ended,
        ):
            model.model(**batch.inputs, use_cache=False)
        stream[place] = ended[model.num_layers]
    return stream


@torch.no_grad()
def last_hidden(model: BlockModel, batch: Batch) -> Iterator[Tensor]:
    """Yield what the head gets for each row, one vector of all its tokens, float32.

    The logits where a model has no output embedding to look into.
    """
    seen: list[Tensor] = []
    with ExitStack() as stack:
        if (head := model.model.get_output_embeddings()) is not None:
            hook = head.register_forward_pre_hook(lambda _head, args: seen.append(args[0]))
            stack.callback(hook.remove)
        logits_BTV = model.model(**batch.inputs, use_cache=False).logits
    hidden_BTD = seen[0] if seen else logits_BTV
    for num, hidden_TD in zip(batch.num_tokens, hidden_BTD, strict=True):
        yield hidden_TD[:num].float().flatten()

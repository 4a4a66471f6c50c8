"""The NLL of each row of a batch, from the logits of all positions or of a few at a time.

Both take float32 logits; the tokens of a row are summed in float64. The plain one multiplies all
positions with the head at once, as the model's own forward does, so that its bits are the model's.

Shapes: B = rows of a batch, T = tokens, D = hidden width, V = width of the head, N = positions of
the batch that count, n = those of a row or chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from inarch.numerics import Head, run_with_head
from inarch.numerics.head import CHUNK_LOGITS
from inarch.prune._blocks import BlockModel
from inarch.prune._rows import Rows


class Batch(NamedTuple):
    """Rows that go through a model together."""

    inputs: dict[str, Tensor]
    """Ids, ``[B, T]``. No mask: nothing that counts looks at the padding, which is on the right."""
    at: list[slice | Tensor]
    """Positions of each row that count."""
    next_N: Tensor
    """The token that follows each of them, row by row."""
    counts: list[int]
    """How many positions of each row count."""
    num_tokens: list[int]
    """How many positions of each row hold a token: up to the last that is predicted."""


def batches_of(rows: Rows, size: int, device: torch.device, part: slice) -> list[Batch]:
    """Return every batch of ``size`` rows whose number is in ``part``, on a device."""
    starts = range(0, len(rows.ids_ST), size)[part]
    return [_batch(Rows(*(x[i : i + size].to(device) for x in rows))) for i in starts]


def _batch(rows: Rows) -> Batch:
    at = [mask_T.nonzero()[:, 0] for mask_T in rows.supervised_ST]
    following = [ids_T[at_n + 1] for ids_T, at_n in zip(rows.ids_ST, at, strict=True)]
    ends = [int(at_n[-1]) + 1 for at_n in at]
    counts = [len(at_n) for at_n in at]
    # A slice needs no copy of the logits.
    spans: list[slice | Tensor] = [
        slice(end - count, end) if int(at_n[0]) == end - count else at_n
        for at_n, end, count in zip(at, ends, counts, strict=True)
    ]
    return Batch(
        {"input_ids": rows.ids_ST}, spans, torch.cat(following), counts, [end + 1 for end in ends]
    )


def plain_nll(model: BlockModel, batch: Batch) -> Tensor:
    """Return the summed NLL of each row in nats, float64, ``[B]``."""
    logits_BTV = model.model(**batch.inputs, use_cache=False).logits
    parts = zip(logits_BTV, batch.at, batch.next_N.split(batch.counts), strict=True)
    return torch.stack([_nll(logits_TV[at], next_n).sum() for logits_TV, at, next_n in parts])


def chunked_nll(model: BlockModel, batch: Batch) -> Tensor:
    """Return the summed NLL of each row in nats, float64, ``[B]``; few logits exist at a time."""

    def rows_nll(hidden_BTD: Tensor, head: Head) -> tuple[Tensor]:
        size = max(1, CHUNK_LOGITS // head.width)
        hidden_ND = torch.cat(
            [hidden_TD[at] for hidden_TD, at in zip(hidden_BTD, batch.at, strict=True)]
        )
        chunks = zip(hidden_ND.split(size), batch.next_N.split(size), strict=True)
        nll_N = torch.cat([_nll(head.logits(hidden_nD), next_n) for hidden_nD, next_n in chunks])
        return (torch.stack([nll_n.sum() for nll_n in nll_N.split(batch.counts)]),)

    return run_with_head(model.model, batch.inputs, rows_nll)[0]


def no_nll(model: BlockModel, batch: Batch) -> None:
    """Run the model for its states alone: the head is not applied."""
    run_with_head(model.model, batch.inputs, lambda _hidden_BTD, _head: None)


def _nll(logits_nV: Tensor, next_n: Tensor) -> Tensor:
    return cross_entropy(logits_nV.float(), next_n, reduction="none").double()

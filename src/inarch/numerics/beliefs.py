"""The most probable tokens of a distribution, and what is left.

Shapes: N = positions, V = width of the head, k = kept candidates per position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from inarch.numerics.logps import logps_at

if TYPE_CHECKING:
    from torch import Tensor


class TopBeliefs(NamedTuple):
    """The head of a distribution per position, log-probs in nats, float32."""

    ids_Nk: Tensor
    """Most probable ids, best first, ties to the lowest id, int64, ``[N, k]``."""
    logps_Nk: Tensor
    """Their log-probs, ``[N, k]``."""
    tail_N: Tensor
    """Log of the mass of all other ids, ``[N]``; -inf where k = V."""
    next_logps_N: Tensor
    """Log-prob of the actual next token, ``[N]``."""

    def finite_N(self) -> Tensor:
        """Return which positions came from sound logits, bool, ``[N]``.

        A NaN or +inf anywhere in a row spoils its normaliser, so looking at one log-prob is enough.
        """
        return self.logps_Nk[:, 0].isfinite()


@torch.no_grad()
def top_beliefs(logits_NV: Tensor, k: int, next_ids_N: Tensor) -> TopBeliefs:
    """Return the k most probable ids of every position with their log-probs, and the rest's mass.

    Args:
        logits_NV: Logits over the full head, ``[N, V]``, computed with in float32.
        k: Candidates to keep, at least 1; more than V means V.
        next_ids_N: The actual next token, int64, ``[N]``.
    """
    logits_NV = logits_NV.float()
    ids_Nk = _top_ids(logits_NV, min(k, logits_NV.shape[1]))
    return TopBeliefs(ids_Nk, *logps_at(logits_NV, ids_Nk, next_ids_N))


def _top_ids(logits_NV: Tensor, k: int) -> Tensor:
    """Return the ids of the k largest logits, best first, ties to the lowest id, ``[N, k]``.

    ``topk`` leaves ties open, and logits of a bfloat16 model are full of them.
    """
    values_Nk, ids_Nk = logits_NV.topk(min(k + 1, logits_NV.shape[1]))
    edge_N = values_Nk[:, k - 1]
    crowded_N = (values_Nk[:, k:] == edge_N[:, None]).any(1)
    values_Nk, ids_Nk = values_Nk[:, :k], ids_Nk[:, :k].contiguous()
    if crowded_N.any():
        # Some ids with the last kept value were left out: keep the lowest ones instead.
        at_edge_MV = logits_NV[crowded_N] == edge_N[crowded_N, None]
        at_edge_Mk = values_Nk[crowded_N] == edge_N[crowded_N, None]
        rank_V = -torch.arange(logits_NV.shape[1], device=ids_Nk.device, dtype=torch.float32)
        lowest_Mk = rank_V.where(at_edge_MV, -torch.inf).topk(k).indices
        slots_Mk = torch.arange(k, device=ids_Nk.device) - (~at_edge_Mk).sum(1, keepdim=True)
        kept_Mk = lowest_Mk.gather(1, slots_Mk.clamp(min=0))
        ids_Nk[crowded_N] = torch.where(at_edge_Mk, kept_Mk, ids_Nk[crowded_N])
    by_id_Nk = ids_Nk.sort(dim=1).values
    order_Nk = logits_NV.gather(1, by_id_Nk).sort(dim=1, descending=True, stable=True).indices
    return by_id_Nk.gather(1, order_Nk)

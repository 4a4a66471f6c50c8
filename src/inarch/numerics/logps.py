"""Log-probs of a few ids out of many, with one pass over the vocabulary in each direction.

Shapes: N = positions, V = width of the head, k = ids asked for per position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch import Tensor


class IdLogps(NamedTuple):
    """Log-probs of a distribution at chosen ids, in nats, float32."""

    logps_Nk: Tensor
    """Log-probs of the chosen ids, ``[N, k]``; -inf in empty slots."""
    tail_N: Tensor
    """Log of the mass of all ids that were not chosen, ``[N]``; -inf where there is none."""
    next_logps_N: Tensor
    """Log-prob of the actual next token, ``[N]``."""


def masked_mean(values_N: Tensor, mask_N: Tensor) -> Tensor:
    """Return the mean of ``values_N`` where ``mask_N`` is set, 0 where it is set nowhere, ``[]``.

    Args:
        values_N: Values of any shape. What stands outside the mask is never read, NaN included.
        mask_N: Bool, of the same shape.
    """
    return values_N.masked_fill(~mask_N, 0.0).sum() / mask_N.sum().clamp(min=1)


def token_logps(logits_NV: Tensor, ids_N: Tensor) -> Tensor:
    """Return the log-probs of ``ids_N``, in nats, float32, ``[N]``.

    Args:
        logits_NV: Logits, ``[N, V]``.
        ids_N: One id per position, ``[N]``.
    """
    return logps_at(logits_NV, ids_N.new_empty(len(ids_N), 0), ids_N).next_logps_N


def logps_at(logits_NV: Tensor, ids_Nk: Tensor, next_ids_N: Tensor) -> IdLogps:
    r"""Return ``log softmax(logits)`` at chosen ids, at all others together, and at the next token.

    tail = log sum_{v not chosen} softmax(logits)_v is summed over those v themselves, so it is
    exact where 1 - sum over the chosen would cancel. Differentiable once, with a single buffer of
    the size of the logits kept between forward and backward.

    Args:
        logits_NV: Logits, ``[N, V]``, computed with in float32.
        ids_Nk: Chosen ids, distinct within a row, -1 in empty slots, int64, ``[N, k]``.
        next_ids_N: The actual next token, int64, ``[N]``; chosen or not.
    """
    return IdLogps(*_LogpsAt.apply(logits_NV.float(), ids_Nk, next_ids_N))


class _LogpsAt(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, ids_Nk: Tensor, next_ids_N: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        empty_Nk = ids_Nk < 0
        slots_Nk = ids_Nk.clamp(min=0)
        chosen_Nk = logits_NV.gather(1, slots_Nk).masked_fill(empty_Nk, -torch.inf)
        # amin, because an empty slot and a real one may both point at id 0.
        others_NV = logits_NV.scatter_reduce(
            1, slots_Nk, torch.where(empty_Nk, torch.inf, -torch.inf), "amin"
        )
        others_N = others_NV.logsumexp(1)
        total_N = torch.logaddexp(chosen_Nk.logsumexp(1), others_N) if ids_Nk.shape[1] else others_N
        logps_Nk = chosen_Nk - total_N[:, None]
        tail_N = others_N - total_N
        next_logps_N = logits_NV.gather(1, next_ids_N[:, None])[:, 0] - total_N
        ctx.save_for_backward(slots_Nk, next_ids_N, others_NV, others_N, logps_Nk, tail_N)
        return logps_Nk, tail_N, next_logps_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        # d logp_v / d logit_u = [u = v] - p_u;  d tail / d logit_u = [u in tail] p_u / P - p_u
        slots_Nk, next_ids_N, others_NV, others_N, logps_Nk, tail_N = ctx.saved_tensors
        grad_Nk, grad_tail_N, grad_next_N = grads
        grad_Nk = grad_Nk.masked_fill(logps_Nk == -torch.inf, 0.0)
        grad_tail_N = grad_tail_N.masked_fill(tail_N == -torch.inf, 0.0)
        sum_N = grad_Nk.sum(1) + grad_tail_N + grad_next_N
        # p_u = exp(logit_u - others) P stays finite where the tail's mass P underflows.
        finite_N = others_N.masked_fill(others_N == -torch.inf, 0.0)
        grad_NV = others_NV.sub(finite_N[:, None]).exp_()
        grad_NV.mul_((grad_tail_N - sum_N * tail_N.exp())[:, None])
        grad_NV.scatter_add_(1, slots_Nk, grad_Nk - sum_N[:, None] * logps_Nk.exp())
        grad_NV.scatter_add_(1, next_ids_N[:, None], grad_next_N[:, None])
        return grad_NV, None, None

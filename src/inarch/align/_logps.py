"""Summed log-probs of answers under a model, without the logits of more than a few positions.

All answers of a batch go through the model in one forward, laid out by `_layout`. The head sees
only the positions that predict a token of an answer, chunk by chunk; in the backward pass each
chunk's logits are computed again, so that the gradient is that of the dense computation and what is
kept is one number per position.

Shapes: A = answers of the batch, N = their tokens, n = those of a chunk, R = rows that the model
reads, W = their width, D = hidden width, V = width of the head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from inarch.align._layout import Batch
from inarch.align._masks import model_inputs
from inarch.numerics import Head, run_with_head, token_logps

CHUNK_LOGITS = 2**23
"""Logits of a chunk, 32 MiB of float32."""


def answer_logps(model: Any, batch: Batch) -> Tensor:
    """Return the log-probs of answers, summed over their tokens, in nats, float32, ``[A]``.

    Differentiable for the model's weights. Neither prompts nor padding are scored.

    Args:
        model: A causal LM, wrapped or not.
        batch: From `batch_of`.
    """
    logps_N = token_logps_of(model, batch)
    sums_A = logps_N.new_zeros(len(batch["lengths_A"]))
    return sums_A.index_add(0, batch["answer_N"], logps_N)


def token_logps_of(model: Any, batch: Batch) -> Tensor:
    """Return the log-probs of the answers' tokens, in nats, float32, ``[N]``."""

    def at_head(hidden_RWD: Tensor, head: Head) -> Tensor:
        hidden_ND = hidden_RWD.flatten(0, 1)[batch["flat_N"]]
        return chunked_logps(hidden_ND, head, batch["labels_N"])

    return run_with_head(model, model_inputs(model, batch), at_head)


def chunked_logps(
    hidden_ND: Tensor, head: Head, labels_N: Tensor, *, chunk: int | None = None
) -> Tensor:
    """Return the log-prob of one id per position, in nats, float32, ``[N]``.

    Args:
        hidden_ND: Hidden states as the head of ``run_with_head`` takes them, ``[N, D]``.
        head: The head.
        labels_N: Ids, ``[N]``.
        chunk: Positions per chunk; by default as many as make 32 MiB of logits or, if that is
            more, D / 4, with which a chunk is about as large as the head's gradient.
    """
    few = 1 if head.linear is None else hidden_ND.shape[1] // 4
    size = chunk or max(1, few, CHUNK_LOGITS // head.width)
    slices = [slice(i, i + size) for i in range(0, len(hidden_ND), size)]
    if head.linear is not None:
        weight, bias = head.linear.weight, head.linear.bias
        return _LinearHeadLogps.apply(hidden_ND, weight, bias, labels_N, slices)

    def of(part_nD: Tensor, labels_n: Tensor) -> Tensor:
        return token_logps(head.logits(part_nD), labels_n)

    if not torch.is_grad_enabled():
        return torch.cat([of(hidden_ND[part], labels_N[part]) for part in slices])
    parts = [
        checkpoint(of, hidden_ND[part], labels_N[part], use_reentrant=False) for part in slices
    ]
    return torch.cat(parts)


class _LinearHeadLogps(torch.autograd.Function):
    """Log-probs under logits = hidden weight^T + bias; the logits are made anew for gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_N: Tensor,
        slices: list[slice],
    ) -> Tensor:
        kind = hidden_ND.device.type
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        ctx.slices = slices
        totals, logps = [], []
        with torch.autocast(kind, enabled=False):
            low_VD = weight_VD.to(ctx.dtype)
            for part in slices:
                logits_nV = _logits(hidden_ND[part], low_VD, bias_V, ctx.dtype)
                totals.append(logits_nV.logsumexp(1))
                logps.append(logits_nV.gather(1, labels_N[part, None])[:, 0] - totals[-1])
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, labels_N, torch.cat(totals))
        return torch.cat(logps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Any, ...]:
        # d logp / d logit_u = [u = label] - p_u
        hidden_ND, weight_VD, bias_V, labels_N, totals_N = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        low_VD = weight_VD.to(ctx.dtype)
        # Weight gradients add up over chunks, so they are kept in float32; hidden ones do not.
        wide = torch.float32
        grad_hidden_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if wants_weight else None
        grad_bias_V = weight_VD.new_zeros(len(weight_VD), dtype=wide) if wants_bias else None
        with torch.autocast(hidden_ND.device.type, enabled=False):
            for part in ctx.slices:
                slope_nV = _logits(hidden_ND[part], low_VD, bias_V, ctx.dtype)
                slope_nV.sub_(totals_N[part, None]).exp_().mul_(-grad_N[part, None])
                slope_nV.scatter_add_(1, labels_N[part, None], grad_N[part, None])
                low_nV = slope_nV.to(low_VD.dtype)
                if grad_hidden_ND is not None:
                    grad_hidden_ND[part] = low_nV @ low_VD
                if grad_weight_VD is not None:
                    _add_product(grad_weight_VD, low_nV, hidden_ND[part].to(low_nV.dtype))
                if grad_bias_V is not None:
                    grad_bias_V += slope_nV.sum(0)
        if grad_weight_VD is not None:
            grad_weight_VD = grad_weight_VD.to(weight_VD.dtype)
        if grad_bias_V is not None and bias_V is not None:
            grad_bias_V = grad_bias_V.to(bias_V.dtype)
        return grad_hidden_ND, grad_weight_VD, grad_bias_V, None, None


def _logits(
    hidden_nD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, dtype: torch.dtype | None
) -> Tensor:
    bias_V = None if bias_V is None else bias_V.to(dtype)
    return nn.functional.linear(hidden_nD.to(dtype), weight_VD, bias_V).float()


def _add_product(total_VD: Tensor, grad_nV: Tensor, hidden_nD: Tensor) -> None:
    if grad_nV.dtype == torch.float32:
        total_VD.addmm_(grad_nV.T, hidden_nD)
    else:
        total_VD += grad_nV.T @ hidden_nD

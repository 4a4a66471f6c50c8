"""A linear-chain conditional random field over the real tokens of a batch.

    p(y) = exp(start[y_0] + sum_t e_t[y_t] + sum_t transitions[y_t, y_{t+1}] + end[y_last]) / Z

Source:   Lafferty, McCallum and Pereira (2001), "Conditional random fields".
Differs:  forward and backward messages run in one loop, the latter as the forward messages of the
          reversed row. Padding comes after the tokens of a row only, so that no step of the loop
          looks at it. The lattice is float64: messages of long rows are large numbers whose small
          differences count.
Shapes:   B = rows, T = padded length, K = tags, D = 2 directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FORBIDDEN = -1e4
"""Score of a transition that never happens: finite, so that no difference of two is NaN."""


class Potentials(NamedTuple):
    """What a chain prefers whatever the text says."""

    start_K: Tensor
    transitions_KK: Tensor
    """From the tag of the row to the tag of the column."""
    end_K: Tensor


class Crf(nn.Module):
    """The learnt potentials of a chain, and what follows from them and from emissions.

    Emissions are ``[B, T, K]`` in any floating format; ``lengths_B`` counts the real tokens, which
    come first in a row, and may be 0. Results are float32, or float64 if the emissions are.
    """

    def __init__(self, num_tags: int, forbidden: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        self.start_K = nn.Parameter(torch.zeros(num_tags))
        self.end_K = nn.Parameter(torch.zeros(num_tags))
        self.transitions_KK = nn.Parameter(torch.zeros(num_tags, num_tags))
        self.forbidden = tuple(forbidden)

    @property
    def potentials(self) -> Potentials:
        """Return the potentials, with a large negative number for what is forbidden."""
        transitions_KK: Tensor = self.transitions_KK
        if self.forbidden:
            before, after = torch.tensor(self.forbidden, device=transitions_KK.device).T
            value = transitions_KK.new_tensor(FORBIDDEN)
            transitions_KK = transitions_KK.index_put((before, after), value)
        return Potentials(self.start_K, transitions_KK, self.end_K)

    def nll(self, emissions_BTK: Tensor, tags_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return -log p of the tags, in nats, ``[B]``; 0 for a row without tokens.

        Args:
            emissions_BTK: Scores of the tags.
            tags_BT: The right tags, in [0, K); anything behind the last real token.
            lengths_B: Real tokens of the rows.
        """
        potentials = self.potentials
        return log_partition(emissions_BTK, lengths_B, potentials) - path_score(
            emissions_BTK, tags_BT, lengths_B, potentials
        )

    def log_marginals(self, emissions_BTK: Tensor, lengths_B: Tensor) -> Tensor:
        """Return log p(y_t = k), ``[B, T, K]``; differentiable. Padding has 0 for all tags."""
        return log_marginals(emissions_BTK, lengths_B, self.potentials)

    def viterbi(self, emissions_BTK: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the most probable tags, int64, ``[B, T]``; of equals the lowest. Padding has 0."""
        return viterbi(emissions_BTK, lengths_B, self.potentials)


def log_partition(emissions_BTK: Tensor, lengths_B: Tensor, potentials: Potentials) -> Tensor:
    """Return log Z, ``[B]``; its gradients are the marginals, computed with it in one loop."""
    log_z_B: Tensor = _LogPartition.apply(emissions_BTK, lengths_B, *potentials)
    return log_z_B


def path_score(
    emissions_BTK: Tensor, tags_BT: Tensor, lengths_B: Tensor, potentials: Potentials
) -> Tensor:
    """Return the score of given tags before the division by Z, ``[B]``; see `Crf.nll`."""
    start_K, transitions_KK, end_K = potentials
    dtype = _result_dtype(emissions_BTK)
    if tags_BT.shape[1] == 0:
        return emissions_BTK.new_zeros(len(tags_BT), dtype=dtype)
    real_BT = _real(emissions_BTK, lengths_B)
    tags_BT = tags_BT.masked_fill(~real_BT, 0)
    unary_BT = emissions_BTK.gather(2, tags_BT[..., None])[..., 0].to(torch.float64)
    pairs_BT = transitions_KK.double()[tags_BT[:, :-1], tags_BT[:, 1:]]
    last_B = tags_BT.gather(1, (lengths_B - 1).clamp(min=0)[:, None])[:, 0]
    total_B = (
        unary_BT.masked_fill(~real_BT, 0.0).sum(1)
        + pairs_BT.masked_fill(~real_BT[:, 1:], 0.0).sum(1)
        + start_K.double()[tags_BT[:, 0]]
        + end_K.double()[last_B]
    )
    return total_B.masked_fill(lengths_B == 0, 0.0).to(dtype)


def log_marginals(emissions_BTK: Tensor, lengths_B: Tensor, potentials: Potentials) -> Tensor:
    """See `Crf.log_marginals`."""
    if emissions_BTK.shape[1] == 0:
        return emissions_BTK.to(_result_dtype(emissions_BTK))
    messages = _messages(emissions_BTK, lengths_B, potentials)
    made_BTK = messages.unary_BTK - messages.log_z_B[:, None, None]
    made_BTK = made_BTK.masked_fill(~_real(emissions_BTK, lengths_B)[..., None], 0.0)
    return made_BTK.to(_result_dtype(emissions_BTK))


def viterbi(emissions_BTK: Tensor, lengths_B: Tensor, potentials: Potentials) -> Tensor:
    """See `Crf.viterbi`."""
    num_rows, length, _ = emissions_BTK.shape
    if length == 0:
        return lengths_B.new_zeros((num_rows, 0), dtype=torch.int64)
    start_K, transitions_KK, end_K = (part.detach().double() for part in potentials)
    real_BT = _real(emissions_BTK, lengths_B)
    steps_TBK = _lattice(emissions_BTK.detach(), real_BT).transpose(0, 1).contiguous()
    best_BK = steps_TBK[0] + start_K
    scores, pointers = [best_BK], []
    for step_BK in steps_TBK[1:]:
        best_BK, pointer_BK = (best_BK[:, :, None] + transitions_KK).max(1)
        best_BK = best_BK + step_BK
        scores.append(best_BK)
        pointers.append(pointer_BK)
    last_B = (lengths_B - 1).clamp(min=0)
    row_B = torch.arange(num_rows, device=lengths_B.device)
    final_B = (torch.stack(scores)[last_B, row_B] + end_K).argmax(1)
    # Whatever the tag behind the last token, the pointer from there leads to the last one's tag.
    pointers.append(torch.zeros_like(best_BK, dtype=torch.int64))
    back_TBK = torch.where(
        real_BT[:, 1:].T[..., None], torch.stack(pointers)[:-1], final_B[:, None]
    )
    tag_B = final_B
    tags = [tag_B]
    for back_BK in back_TBK.flip(0):
        tag_B = back_BK.gather(1, tag_B[:, None])[:, 0]
        tags.append(tag_B)
    return torch.stack(tags[::-1], 1).masked_fill(~real_BT, 0)


class _Messages(NamedTuple):
    forward_TBK: Tensor
    """Log-mass of all ways that end at t with tag k."""
    backward_TBK: Tensor
    """Of all ways on from there, without the emission of t."""
    unary_BTK: Tensor
    """Their sum: log of Z times the marginal."""
    log_z_B: Tensor


def _messages(emissions_BTK: Tensor, lengths_B: Tensor, potentials: Potentials) -> _Messages:
    start_K, transitions_KK, end_K = (part.double() for part in potentials)
    real_BT = _real(emissions_BTK, lengths_B)
    steps_BTK = _lattice(emissions_BTK, real_BT)
    mirror_BT = mirror(lengths_B, steps_BTK.shape[1])
    index_BTK = mirror_BT[..., None].expand_as(steps_BTK)
    both_TDBK = torch.stack([steps_BTK, steps_BTK.gather(1, index_BTK)], 1).permute(2, 1, 0, 3)
    both_TDBK = both_TDBK.contiguous()
    way_DKK = torch.stack([transitions_KK, transitions_KK.T])[:, None]
    message_DBK = both_TDBK[0] + torch.stack([start_K, end_K])[:, None]
    made = [message_DBK]
    for step_DBK in both_TDBK[1:]:
        moved_DBKK = message_DBK[..., None] + way_DKK
        message_DBK = reduce(torch.logaddexp, moved_DBKK.unbind(2)) + step_DBK
        made.append(message_DBK)
    forward_TBK, mirrored_TBK = torch.stack(made, 1)
    index_TBK = index_BTK.transpose(0, 1)
    backward_TBK = mirrored_TBK.gather(0, index_TBK) - steps_BTK.transpose(0, 1)
    unary_BTK = (forward_TBK + backward_TBK).transpose(0, 1)
    log_z_B = torch.logsumexp(unary_BTK[:, 0], -1)
    return _Messages(forward_TBK, backward_TBK, unary_BTK, log_z_B)


def pair_marginals(
    emissions_BTK: Tensor, lengths_B: Tensor, potentials: Potentials
) -> tuple[Tensor, Tensor]:
    """Return log p(y_t) ``[B, T, K]`` and log p(y_t, y_{t+1}) ``[B, T - 1, K, K]``, float64.

    Behind the last real token they mean nothing.
    """
    messages = _messages(emissions_BTK, lengths_B, potentials)
    log_z_B = messages.log_z_B[:, None, None]
    pairs_TBKK = _pairs(messages, emissions_BTK, potentials.transitions_KK)
    return messages.unary_BTK - log_z_B, pairs_TBKK.transpose(0, 1) - log_z_B[..., None]


def _pairs(messages: _Messages, emissions_BTK: Tensor, transitions_KK: Tensor) -> Tensor:
    arrive_TBK = messages.backward_TBK[1:] + emissions_BTK[:, 1:].transpose(0, 1)
    return messages.forward_TBK[:-1, :, :, None] + transitions_KK + arrive_TBK[:, :, None]


class _LogPartition(torch.autograd.Function):
    """log Z, whose gradients are the marginals of tags and of pairs of tags."""

    @staticmethod
    def forward(ctx: Any, emissions_BTK: Tensor, lengths_B: Tensor, *parts: Tensor) -> Tensor:
        dtype = _result_dtype(emissions_BTK)
        if emissions_BTK.shape[1] == 0:
            ctx.save_for_backward(emissions_BTK, *(torch.zeros_like(part)[None] for part in parts))
            return emissions_BTK.new_zeros(len(lengths_B), dtype=dtype)
        potentials = Potentials(*parts)
        real_BT = _real(emissions_BTK, lengths_B)
        messages = _messages(emissions_BTK, lengths_B, potentials)
        log_z_B = messages.log_z_B
        slope_BTK = (messages.unary_BTK - log_z_B[:, None, None]).exp()
        slope_BTK = slope_BTK.masked_fill(~real_BT[..., None], 0.0)
        steps_BTK = _lattice(emissions_BTK, real_BT)
        pairs_TBKK = _pairs(messages, steps_BTK, potentials.transitions_KK.double())
        pairs_TBKK = (pairs_TBKK - log_z_B[:, None, None]).exp()
        pairs_TBKK = pairs_TBKK.masked_fill(~real_BT[:, 1:].T[..., None, None], 0.0)
        last_B = (lengths_B - 1).clamp(min=0)
        row_B = torch.arange(len(lengths_B), device=lengths_B.device)
        ctx.save_for_backward(
            slope_BTK.to(emissions_BTK.dtype),
            slope_BTK[:, 0],
            pairs_TBKK.sum(0),
            slope_BTK[row_B, last_B],
        )
        ctx.dtypes = [part.dtype for part in parts]
        return log_z_B.masked_fill(lengths_B == 0, 0.0).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:
        emissions_BTK, *parts = ctx.saved_tensors
        grads = [emissions_BTK * grad_B[:, None, None].to(emissions_BTK.dtype), None]
        if emissions_BTK.shape[1] == 0:
            return grads[0], None, *(part[0] for part in parts)
        for part, dtype in zip(parts, ctx.dtypes, strict=True):
            grads.append(torch.tensordot(grad_B.double(), part, 1).to(dtype))
        return tuple(grads)


def _real(emissions_BTK: Tensor, lengths_B: Tensor) -> Tensor:
    position_T = torch.arange(emissions_BTK.shape[1], device=lengths_B.device)
    return position_T < lengths_B[:, None]


def _lattice(emissions_BTK: Tensor, real_BT: Tensor) -> Tensor:
    """Return emissions in the lattice's format; padding may hold anything, and counts as 0."""
    return emissions_BTK.double().masked_fill(~real_BT[..., None], 0.0)


def mirror(lengths_B: Tensor, length: int) -> Tensor:
    """Return the positions of a row's tokens in reverse, and padding where it is, ``[B, T]``."""
    position_T = torch.arange(length, device=lengths_B.device)
    mirrored_BT = lengths_B[:, None] - 1 - position_T
    return torch.where(mirrored_BT >= 0, mirrored_BT, position_T)


def _result_dtype(emissions: Tensor) -> torch.dtype:
    return torch.float64 if emissions.dtype == torch.float64 else torch.float32

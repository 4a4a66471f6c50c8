r"""Distances from a sparse teacher to a dense student, at k ids and a tail per position.

With p_i the teacher's probability of the id in slot i, p_t that of its tail, and q_i, q_t the
student's mass of the same ids and of all others, both of the full softmax:

    ce          -sum_i p_i log q_i                            H(P, Q)
    kl          sum_i p_i (log p_i - log q_i)                 KL(P || Q), same gradient as ce
    reverse_kl  sum_i q'_i (log q'_i - log p_i)               KL(Q' || P)
    jsd         (KL(P || M) + KL(Q || M)) / 2, M = (P + Q)/2   in [0, log 2]

and the tail

    bucket       is one more outcome, p_t against q_t
    ignore       contributes nothing; the p_i are used as they are and need not sum to 1
    renormalise  is dropped and the p_i are scaled to sum to 1, as the released FuseLLM code does

KL(Q || P) is infinite where P has no mass, so in ``reverse_kl`` the student's Q' is Q conditioned
on the outcomes to which the teacher gives mass; with a tail in ``bucket`` these are all outcomes
and Q' = Q. In ``jsd`` the tail stays an outcome of the student also under ``renormalise``, where
the teacher gives it nothing. ``ignore`` leaves no distribution to compare with, so ``reverse_kl``
and ``jsd`` refuse it. A row without any mass of the teacher has loss 0.

Source:  arXiv:2401.10491, the fusion term of its objective, H(P, Q) (``ce``).
Differs: the teacher's tail is not thrown away by default.
Shapes:  N = positions, V = width of the head, k = slots per position.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch

from inarch.errors import SettingsError
from inarch.numerics.logps import logps_at

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["ce", "kl", "reverse_kl", "jsd"]
TailPolicy = Literal["bucket", "ignore", "renormalise"]


def sparse_divergence(
    logits_NV: Tensor,
    ids_Nk: Tensor,
    logps_Nk: Tensor,
    tail_N: Tensor,
    *,
    kind: Kind,
    tail_policy: TailPolicy,
) -> Tensor:
    """Return the divergence per position, in nats, float32, ``[N]``.

    Args:
        logits_NV: The student's logits, ``[N, V]``.
        ids_Nk: The teacher's ids, distinct within a row, -1 in empty slots, int64, ``[N, k]``.
        logps_Nk: Its log-probs, -inf in empty slots, ``[N, k]``.
        tail_N: Log of its mass elsewhere, -inf where there is none, ``[N]``.
        kind: See the module's docstring.
        tail_policy: See the module's docstring.

    Raises:
        SettingsError: ``reverse_kl`` or ``jsd`` with ``ignore``.
    """
    student = logps_at(logits_NV, ids_Nk, ids_Nk.new_zeros(len(ids_Nk)))
    return divergence(
        student.logps_Nk, student.tail_N, logps_Nk, tail_N, kind=kind, tail_policy=tail_policy
    )


def divergence(
    student_Nk: Tensor,
    student_tail_N: Tensor,
    teacher_Nk: Tensor,
    teacher_tail_N: Tensor,
    *,
    kind: Kind,
    tail_policy: TailPolicy,
) -> Tensor:
    """Return ``sparse_divergence`` from log-probs that were already gathered, ``[N]``.

    Args:
        student_Nk: The student's log-probs at the teacher's ids, -inf in empty slots, ``[N, k]``.
        student_tail_N: Log of its mass elsewhere, ``[N]``. Both as ``logps_at`` gives them.
        teacher_Nk: The teacher's log-probs, -inf in empty slots, ``[N, k]``.
        teacher_tail_N: Log of its mass elsewhere, ``[N]``.
        kind: See the module's docstring.
        tail_policy: See the module's docstring.

    Raises:
        SettingsError: ``reverse_kl`` or ``jsd`` with ``ignore``.
    """
    if tail_policy == "ignore" and kind in ("reverse_kl", "jsd"):
        raise SettingsError(
            f"divergence {kind!r} with tail policy 'ignore' compares with something that is no"
            " distribution; expected tail policy 'bucket' or 'renormalise'"
        )
    teacher_Nk, teacher_tail_N = teacher_Nk.float(), teacher_tail_N.float()
    if tail_policy == "renormalise":
        teacher_Nk = teacher_Nk - _finite(teacher_Nk.logsumexp(1, keepdim=True))
    if tail_policy != "bucket":
        teacher_tail_N = torch.full_like(teacher_tail_N, -torch.inf)
    logp_NK = torch.cat([teacher_Nk, teacher_tail_N[:, None]], dim=1)
    logq_NK = torch.cat([student_Nk, student_tail_N[:, None]], dim=1)
    has_mass_NK = logp_NK != -torch.inf

    if kind == "reverse_kl":
        return _reverse_kl(logp_NK, logq_NK, has_mass_NK)
    if kind == "jsd":
        return _jsd(logp_NK, logq_NK).masked_fill(~has_mass_NK.any(1), 0.0)
    # 0 log q = 0, also where q = 0: those entries never enter the product.
    cost_NK = -logq_NK if kind == "ce" else logp_NK - logq_NK
    return (logp_NK.exp() * cost_NK.masked_fill(~has_mass_NK, 0.0)).sum(1)


def _reverse_kl(logp_NK: Tensor, logq_NK: Tensor, has_mass_NK: Tensor) -> Tensor:
    # -1e30 and not -inf, whose softmax over an empty row is NaN in both directions.
    logq_NK = logq_NK.masked_fill(~has_mass_NK, -1e30).log_softmax(1)
    cost_NK = (logq_NK - logp_NK).masked_fill(~has_mass_NK, 0.0)
    return (logq_NK.exp() * cost_NK).sum(1)


def _jsd(logp_NK: Tensor, logq_NK: Tensor) -> Tensor:
    no_p_NK, no_q_NK = logp_NK == -torch.inf, logq_NK == -torch.inf
    # A finite stand-in for log 0: its exp is 0, and no gradient meets inf - inf.
    logp_NK, logq_NK = logp_NK.masked_fill(no_p_NK, -1e30), logq_NK.masked_fill(no_q_NK, -1e30)
    logm_NK = torch.logaddexp(logp_NK, logq_NK) - math.log(2)
    kl_p_NK = logp_NK.exp() * (logp_NK - logm_NK)
    kl_q_NK = logq_NK.exp() * (logq_NK - logm_NK)
    return (kl_p_NK + kl_q_NK).sum(1) / 2


def _finite(values: Tensor) -> Tensor:
    return values.masked_fill(values == -torch.inf, 0.0)

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inarch.errors import SettingsError
from inarch.numerics import Kind, TailPolicy, sparse_divergence

LOG = math.log
SOUND = [
    (kind, policy)
    for kind in get_args(Kind)
    for policy in get_args(TailPolicy)
    if not (policy == "ignore" and kind in ("reverse_kl", "jsd"))
]

# Student 1/2, 1/4, 1/8, 1/8; teacher 1/4 at id 1, 1/4 at id 0, 1/2 elsewhere, one slot empty.
STUDENT_NV = torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log()
IDS_Nk = torch.tensor([[1, -1, 0]])
LOGPS_Nk = torch.tensor([[1 / 4, 0.0, 1 / 4]]).log()
TAIL_N = torch.tensor([1 / 2]).log()


@pytest.mark.parametrize(
    ("kind", "policy", "expected"),
    [
        # -(1/4 log 1/4 + 1/4 log 1/2); the tail adds -1/2 log 1/4
        ("ce", "ignore", 3 / 4 * LOG(2)),
        ("ce", "bucket", 7 / 4 * LOG(2)),
        # survivors 1/2 and 1/2
        ("ce", "renormalise", 3 / 2 * LOG(2)),
        # 1/4 log(1/4 / 1/4) + 1/4 log(1/4 / 1/2) + 1/2 log(1/2 / 1/4)
        ("kl", "bucket", 1 / 4 * LOG(2)),
        ("kl", "ignore", -1 / 4 * LOG(2)),
        # 1/2 log(1/2 / 1/4) + 1/2 log(1/2 / 1/2)
        ("kl", "renormalise", 1 / 2 * LOG(2)),
        # 1/4 log(1/4 / 1/4) + 1/2 log(1/2 / 1/4) + 1/4 log(1/4 / 1/2)
        ("reverse_kl", "bucket", 1 / 4 * LOG(2)),
        # student given the survivors: 1/3 and 2/3 against 1/2 and 1/2
        ("reverse_kl", "renormalise", 1 / 3 * LOG(2 / 3) + 2 / 3 * LOG(4 / 3)),
        # M = 1/4, 3/8, 3/8
        (
            "jsd",
            "bucket",
            (1 / 4 * LOG(2 / 3) + 1 / 2 * LOG(4 / 3) + 1 / 2 * LOG(4 / 3) + 1 / 4 * LOG(2 / 3)) / 2,
        ),
        # teacher 1/2, 1/2, 0; student 1/4, 1/2, 1/4; M = 3/8, 1/2, 1/8
        ("jsd", "renormalise", (1 / 2 * LOG(4 / 3) + 1 / 4 * LOG(2 / 3) + 1 / 4 * LOG(2)) / 2),
    ],
)
def test_by_hand(kind: Kind, policy: TailPolicy, expected: float) -> None:
    loss_N = sparse_divergence(STUDENT_NV, IDS_Nk, LOGPS_Nk, TAIL_N, kind=kind, tail_policy=policy)
    assert loss_N.tolist() == pytest.approx([expected], abs=1e-6)


def make(num: int, width: int, k: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Student logits, a dense teacher, and the teacher's k best with the rest."""
    generator = torch.Generator().manual_seed(seed)
    student_NV = torch.randn(num, width, generator=generator) * 2
    teacher_NV = (torch.randn(num, width, generator=generator) * 2).log_softmax(1)
    logps_Nk, ids_Nk = teacher_NV.topk(k)
    left_NV = teacher_NV.scatter(1, ids_Nk, -torch.inf)
    return student_NV, teacher_NV, ids_Nk, logps_Nk, left_NV.logsumexp(1)


def dense(kind: Kind, logp_NV: Tensor, logq_NV: Tensor) -> Tensor:
    """The divergence of two dense distributions, by torch's own functions."""
    p_NV, q_NV = logp_NV.exp(), logq_NV.exp()
    if kind == "ce":
        return torch.nn.functional.cross_entropy(logq_NV, p_NV, reduction="none")
    kl = torch.nn.functional.kl_div
    if kind == "kl":
        return kl(logq_NV, p_NV, reduction="none").sum(1)
    if kind == "reverse_kl":
        return kl(logp_NV, q_NV, reduction="none").sum(1)
    logm_NV = ((p_NV + q_NV) / 2).log()
    both = kl(logm_NV, p_NV, reduction="none") + kl(logm_NV, q_NV, reduction="none")
    return both.sum(1) / 2


@pytest.mark.parametrize("policy", ["bucket", "renormalise"])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_all_slots_filled_is_the_dense_divergence(kind: Kind, policy: TailPolicy) -> None:
    student_NV, teacher_NV, ids_Nk, logps_Nk, tail_N = make(40, 9, 9, 0)
    student_NV.requires_grad_()
    loss_N = sparse_divergence(student_NV, ids_Nk, logps_Nk, tail_N, kind=kind, tail_policy=policy)
    expected_N = dense(kind, teacher_NV, student_NV.log_softmax(1))
    torch.testing.assert_close(loss_N, expected_N, atol=1e-5, rtol=1e-5)
    (found,) = torch.autograd.grad(loss_N.sum(), student_NV, retain_graph=True)
    (expected,) = torch.autograd.grad(expected_N.sum(), student_NV)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_bucket_is_the_dense_divergence_with_the_tail_as_one_outcome(kind: Kind) -> None:
    student_NV, _, ids_Nk, logps_Nk, tail_N = make(40, 50, 4, 1)
    student_NV.requires_grad_()
    loss_N = sparse_divergence(
        student_NV, ids_Nk, logps_Nk, tail_N, kind=kind, tail_policy="bucket"
    )
    logq_NV = student_NV.log_softmax(1)
    rest_N = (1 - logq_NV.gather(1, ids_Nk).exp().sum(1)).log()
    logq_NK = torch.cat([logq_NV.gather(1, ids_Nk), rest_N[:, None]], 1)
    expected_N = dense(kind, torch.cat([logps_Nk, tail_N[:, None]], 1), logq_NK)
    torch.testing.assert_close(loss_N, expected_N, atol=1e-5, rtol=1e-5)
    (found,) = torch.autograd.grad(loss_N.sum(), student_NV, retain_graph=True)
    (expected,) = torch.autograd.grad(expected_N.sum(), student_NV)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("policy", ["ignore", "renormalise"])
def test_cross_entropy_with_a_dense_target_of_k_values(policy: TailPolicy) -> None:
    """C5: the reference's dense [N, V] target, zero but for the k, gives the same loss."""
    student_NV, _, ids_Nk, logps_Nk, tail_N = make(40, 50, 4, 2)
    p_Nk = logps_Nk.exp()
    if policy == "renormalise":
        p_Nk = p_Nk / p_Nk.sum(1, keepdim=True)
    target_NV = torch.zeros_like(student_NV).scatter(1, ids_Nk, p_Nk)
    expected_N = -(target_NV * student_NV.log_softmax(1)).sum(1)
    loss_N = sparse_divergence(student_NV, ids_Nk, logps_Nk, tail_N, kind="ce", tail_policy=policy)
    torch.testing.assert_close(loss_N, expected_N, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("policy", get_args(TailPolicy))
def test_kl_and_ce_have_one_gradient(policy: TailPolicy) -> None:
    """C4: they differ by the teacher's entropy, which does not depend on the student."""
    student_NV, _, ids_Nk, logps_Nk, tail_N = make(40, 50, 4, 3)
    student_NV.requires_grad_()
    grads = []
    for kind in ("ce", "kl"):
        loss_N = sparse_divergence(
            student_NV, ids_Nk, logps_Nk, tail_N, kind=kind, tail_policy=policy
        )
        grads.append(torch.autograd.grad(loss_N.sum(), student_NV)[0])
    torch.testing.assert_close(grads[0], grads[1], atol=1e-7, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 10**6))
def test_a_student_that_equals_the_teacher_is_at_zero_and_others_above(
    width: int, k: int, seed: int
) -> None:
    k = min(k, width)
    student_NV, teacher_NV, ids_Nk, logps_Nk, tail_N = make(5, width, k, seed)
    for kind in ("kl", "reverse_kl", "jsd"):
        here_N, there_N = (
            sparse_divergence(logits_NV, ids_Nk, logps_Nk, tail_N, kind=kind, tail_policy="bucket")
            for logits_NV in (teacher_NV, student_NV)
        )
        torch.testing.assert_close(here_N, torch.zeros(5), atol=2e-6, rtol=0)
        assert (there_N > -2e-6).all()
        assert kind != "jsd" or (there_N < LOG(2) + 1e-6).all()


@pytest.mark.parametrize(("kind", "policy"), SOUND)
def test_empty_slots_and_empty_rows_add_nothing(kind: Kind, policy: TailPolicy) -> None:
    student_NV, _, ids_Nk, logps_Nk, tail_N = make(4, 50, 4, 4)
    wide_ids_Nk = torch.cat([torch.full((4, 2), -1), ids_Nk], 1)
    wide_logps_Nk = torch.cat([torch.full((4, 2), -torch.inf), logps_Nk], 1)
    wide_ids_Nk[3], wide_logps_Nk[3], tail_N[3] = -1, -torch.inf, -torch.inf
    student_NV.requires_grad_()
    loss_N = sparse_divergence(
        student_NV, wide_ids_Nk, wide_logps_Nk, tail_N, kind=kind, tail_policy=policy
    )
    plain_N = sparse_divergence(student_NV, ids_Nk, logps_Nk, tail_N, kind=kind, tail_policy=policy)
    torch.testing.assert_close(loss_N[:3], plain_N[:3])
    assert loss_N[3].item() == 0.0
    (grad_NV,) = torch.autograd.grad(loss_N.sum(), student_NV)
    assert grad_NV[3].abs().max().item() == 0.0
    assert grad_NV.isfinite().all()


@pytest.mark.parametrize("kind", ["reverse_kl", "jsd"])
def test_ignore_is_refused_where_it_means_nothing(kind: Kind) -> None:
    with pytest.raises(SettingsError, match="bucket"):
        sparse_divergence(STUDENT_NV, IDS_Nk, LOGPS_Nk, TAIL_N, kind=kind, tail_policy="ignore")

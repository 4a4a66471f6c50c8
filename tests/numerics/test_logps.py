import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inarch.numerics import logps_at, masked_mean, token_logps


def dense(logits_NV: Tensor, ids_Nk: Tensor, next_ids_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same by float64 log-softmax and masks."""
    logps_NV = logits_NV.double().log_softmax(1)
    chosen_NV = torch.zeros_like(logps_NV, dtype=torch.bool)
    for row, ids_k in zip(chosen_NV, ids_Nk.tolist(), strict=True):
        row[[i for i in ids_k if i >= 0]] = True
    logps_Nk = logps_NV.gather(1, ids_Nk.clamp(min=0)).masked_fill(ids_Nk < 0, -torch.inf)
    tail_N = logps_NV.masked_fill(chosen_NV, -torch.inf).logsumexp(1)
    return logps_Nk, tail_N, logps_NV.gather(1, next_ids_N[:, None])[:, 0]


def ragged(num: int, width: int, k: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits_NV = torch.randn(num, width, generator=generator) * 3
    ids_Nk = torch.stack([torch.randperm(width, generator=generator)[:k] for _ in range(num)])
    ids_Nk[torch.rand(num, k, generator=generator) < 0.3] = -1
    return logits_NV, ids_Nk, torch.randint(width, (num,), generator=generator)


def test_by_hand() -> None:
    # Probabilities 1/8, 1/2, 1/4, 1/8; ids 1 and 3 chosen, so 1/8 + 1/4 = 3/8 are left.
    logits_NV = torch.tensor([[1.0, 4.0, 2.0, 1.0]]).log()
    logps_Nk, tail_N, next_logps_N = logps_at(
        logits_NV, torch.tensor([[1, -1, 3]]), torch.tensor([2])
    )
    assert logps_Nk.exp().tolist()[0] == pytest.approx([1 / 2, 0.0, 1 / 8])
    assert tail_N.exp().item() == pytest.approx(3 / 8)
    assert next_logps_N.exp().item() == pytest.approx(1 / 4)


def test_values_and_gradients_are_those_of_the_dense_computation() -> None:
    logits_NV, ids_Nk, next_ids_N = ragged(200, 23, 5)
    weights = [torch.randn(200, 5), torch.randn(200), torch.randn(200)]

    def gradient(logits: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
        finite = [torch.where(part.isfinite(), part, 0.0) for part in parts]
        total = sum((part * w).sum() for part, w in zip(finite, weights, strict=True))
        return torch.autograd.grad(total, logits)[0]

    sparse_NV = logits_NV.clone().requires_grad_()
    sparse = logps_at(sparse_NV, ids_Nk, next_ids_N)
    wide_NV = logits_NV.double().requires_grad_()
    wide = dense(wide_NV, ids_Nk, next_ids_N)
    for found, expected in zip(sparse, wide, strict=True):
        torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(
        gradient(sparse_NV, sparse).double(), gradient(wide_NV, wide), atol=5e-6, rtol=0
    )


def test_a_tail_of_1e_minus_30_is_exact() -> None:
    # 1 - sum over the chosen is 0 in float32; the tail is e^-69 / (1 + e^-69).
    logits_NV = torch.tensor([[0.0, -69.0]], requires_grad=True)
    out = logps_at(logits_NV, torch.tensor([[0]]), torch.tensor([0]))
    assert out.tail_N.item() == pytest.approx(-69.0)
    # d tail / d logits = (0 - p_0, 1 - p_1) = (-1, 1)
    (grad_NV,) = torch.autograd.grad(out.tail_N.sum(), logits_NV)
    assert grad_NV.tolist()[0] == pytest.approx([-1.0, 1.0])


def test_all_ids_chosen_leave_no_tail_and_no_nan() -> None:
    logits_NV = torch.randn(3, 4, requires_grad=True)
    out = logps_at(logits_NV, torch.arange(4).repeat(3, 1), torch.tensor([0, 1, 2]))
    assert out.tail_N.tolist() == [-math.inf] * 3
    torch.testing.assert_close(out.logps_Nk, logits_NV.log_softmax(1))
    # sum_v log p_v = sum_v logit_v - 4 logsumexp
    (grad_NV,) = torch.autograd.grad(out.logps_Nk.sum(), logits_NV)
    torch.testing.assert_close(grad_NV, 1 - 4 * logits_NV.softmax(1))


def test_token_logps_are_minus_the_cross_entropy_also_for_bf16() -> None:
    logits_NV, _, next_ids_N = ragged(50, 23, 5)
    low_NV = logits_NV.bfloat16()
    expected = -torch.nn.functional.cross_entropy(low_NV.float(), next_ids_N, reduction="none")
    found = token_logps(low_NV, next_ids_N)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 10**6), st.floats(-1e4, 1e4))
def test_mass_is_one_and_a_shift_of_the_logits_changes_nothing(
    width: int, k: int, seed: int, shift: float
) -> None:
    logits_NV, ids_Nk, next_ids_N = ragged(6, width, min(k, width), seed)
    out = logps_at(logits_NV, ids_Nk, next_ids_N)
    mass_N = out.logps_Nk.exp().sum(1) + out.tail_N.exp()
    torch.testing.assert_close(mass_N, torch.ones(6))
    moved = logps_at((logits_NV.double() + shift).float(), ids_Nk, next_ids_N)
    torch.testing.assert_close(moved.tail_N, out.tail_N, atol=5e-3, rtol=0)


def test_masked_mean() -> None:
    values = torch.tensor([1.0, torch.nan, 4.0])
    assert masked_mean(values, torch.tensor([True, False, True])).item() == 2.5  # (1 + 4) / 2
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)).item() == 0.0

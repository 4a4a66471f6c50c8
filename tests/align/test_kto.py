"""KTO: by hand, a second way row by row, closed-form gradients, the reference point, TRL."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from inarch.align import KtoSettings, kto
from inarch.errors import DataError
from inarch.records import LabelledLogps

SETTINGS = KtoSettings(beta=0.3, desirable_weight=1.5, undesirable_weight=0.5)


def labelled(answers: Any, mismatched: Any, desirable: Any) -> LabelledLogps:
    return LabelledLogps(
        torch.tensor(answers, dtype=torch.float64),
        torch.tensor(mismatched, dtype=torch.float64),
        torch.tensor(desirable),
    )


def made_up(seed: int = 0, num: int = 6) -> tuple[LabelledLogps, LabelledLogps]:
    rng = np.random.default_rng(seed)
    desirable = np.arange(num) % 3 > 0
    reference = labelled(rng.uniform(-30, -10, num), rng.uniform(-30, -10, 4), desirable)
    policy = labelled(
        reference.answer_B.numpy() + rng.normal(0, 3, num),
        reference.mismatched_M.numpy() + rng.uniform(0, 2, 4),
        desirable,
    )
    policy.answer_B.requires_grad_()
    policy.mismatched_M.requires_grad_()
    return policy, reference


def test_by_hand():
    # Log-ratios 3 and -2 at beta .5, so rewards 1.5 and -1; the reference point is (2 + 0) / 2 = 1
    # nat, .5. Liked: sigma(.5 - 1.5); not: 2 sigma(-1 - .5).
    policy = labelled([-7.0, -12.0], [-8.0, -9.0], [True, False])
    reference = labelled([-10.0, -10.0], [-10.0, -9.0], [True, False])
    out = kto(policy, reference, KtoSettings(beta=0.5, undesirable_weight=2.0))
    expected = 1 / (1 + math.exp(1.0)) + 2 / (1 + math.exp(1.5))
    assert out.loss.item() == pytest.approx(expected, rel=1e-12)
    sums = {name: value.item() for name, value in out.metrics.items()}
    assert sums == pytest.approx(
        {
            "kl": 2 * 1.0,
            "desirable": 1,
            "rewards/desirable": 1.5,
            "rewards/undesirable": -1.0,
            "logps/desirable": -7.0,
            "logps/undesirable": -12.0,
        }
    )


def test_against_another_way():
    policy, reference = made_up()
    point = max(0.0, float(np.mean((policy.mismatched_M - reference.mismatched_M).tolist())))
    total = 0.0
    for row, liked in enumerate(policy.desirable_B.tolist()):
        reward = 0.3 * ((policy.answer_B - reference.answer_B)[row].item() - point)
        wins = math.exp(reward) / (1 + math.exp(reward))
        total += 1.5 * (1 - wins) if liked else 0.5 * wins
    assert kto(policy, reference, SETTINGS).loss.item() == pytest.approx(total, rel=1e-12)


def test_gradients():
    for seed in range(3):
        policy, reference = made_up(seed)
        kto(policy, reference, SETTINGS).loss.backward()
        point = max(0.0, (policy.mismatched_M - reference.mismatched_M).mean().item())
        x = 0.3 * ((policy.answer_B - reference.answer_B).detach().numpy() - point)
        slope = 0.3 * np.exp(x) / (1 + np.exp(x)) ** 2
        expected = np.where(policy.desirable_B.numpy(), -1.5, 0.5) * slope
        np.testing.assert_allclose(policy.answer_B.grad.numpy(), expected, rtol=1e-9)
        assert policy.mismatched_M.grad is None  # the reference point is none to be learned


def test_the_reference_point_is_not_below_0():
    policy, reference = made_up()
    low = policy._replace(mismatched_M=reference.mismatched_M - 3)
    level = policy._replace(mismatched_M=reference.mismatched_M)
    made = kto(low, reference, SETTINGS)
    assert made.metrics["kl"].item() == 0
    assert made.loss.item() == kto(level, reference, SETTINGS).loss.item()
    assert made.loss.item() != pytest.approx(kto(policy, reference, SETTINGS).loss.item(), rel=1e-3)


def test_starts_at_half_of_the_weights():
    policy, _ = made_up()
    expected = 0.5 * (4 * 1.5 + 2 * 0.5)
    assert kto(policy, policy, SETTINGS).loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("liked", [True, False])
def test_one_kind_alone(liked: bool):
    policy, reference = made_up()
    policy = policy._replace(desirable_B=torch.full((6,), liked))
    out = kto(policy, reference, SETTINGS)
    other = "undesirable" if liked else "desirable"
    assert out.metrics[f"rewards/{other}"].item() == 0
    assert out.metrics["desirable"].item() == 6 * liked
    assert out.loss.item() > 0


def test_adds_up_at_one_reference_point():
    policy, reference = made_up()

    def part(record: LabelledLogps, rows: list[int]) -> LabelledLogps:
        return LabelledLogps(record.answer_B[rows], record.mismatched_M, record.desirable_B[rows])

    whole = kto(policy, reference, SETTINGS)
    parts = [
        kto(part(policy, rows), part(reference, rows), SETTINGS) for rows in ([4, 0], [3, 1, 5, 2])
    ]
    torch.testing.assert_close(sum(x.loss for x in parts), whole.loss)
    for name, value in whole.metrics.items():
        torch.testing.assert_close(sum(x.metrics[name] for x in parts), value)


def test_extremes_and_low_precision():
    zeros = LabelledLogps(torch.zeros(2), torch.zeros(1), torch.tensor([True, False]))
    far = zeros._replace(answer_B=torch.tensor([-1e6, 1e6]))
    assert kto(far, zeros, KtoSettings()).loss.item() == 2.0
    low = zeros._replace(answer_B=torch.tensor([-1.0, 2.0], dtype=torch.bfloat16))
    made = kto(low, zeros, KtoSettings()).loss
    assert made.dtype == torch.float32
    assert made.item() == pytest.approx(1 / (1 + math.exp(-0.1)) + 1 / (1 + math.exp(-0.2)))


def test_bad_shapes_are_refused():
    policy, reference = made_up()
    for field, wrong in (("answer_B", policy.answer_B[:-1]), ("desirable_B", torch.ones(5))):
        with pytest.raises(DataError, match=r"expected one shape \[B\]"):
            kto(policy._replace(**{field: wrong}), reference, SETTINGS)
    for wrong in (policy.mismatched_M[:-1], policy.mismatched_M[:0], policy.mismatched_M[:, None]):
        with pytest.raises(DataError, match="mismatched_M"):
            kto(policy._replace(mismatched_M=wrong), reference, SETTINGS)
    none = policy.mismatched_M[:0]
    with pytest.raises(DataError, match="M > 0"):
        kto(policy._replace(mismatched_M=none), reference._replace(mismatched_M=none), SETTINGS)


def test_trl():
    from .trl_losses import tokens, trl_kto

    (logps, mask), (reference, _) = tokens(0), tokens(1)
    logps, reference = logps.requires_grad_(), reference * mask
    labels = torch.arange(10) % 3 > 0
    kl = (tokens(2)[0].sum(1) + 3, tokens(3)[0].sum(1))
    assert (kl[0] - kl[1]).mean() > 0.1
    theirs = trl_kto(logps, reference, mask, labels, kl)
    made = kto(
        LabelledLogps(logps.sum(1), kl[0], labels),
        LabelledLogps(reference.sum(1), kl[1], labels),
        SETTINGS,
    )
    torch.testing.assert_close(made.loss / 10, theirs, rtol=1e-9, atol=0)
    slopes = [torch.autograd.grad(x, logps, retain_graph=True)[0] for x in (made.loss / 10, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=0)

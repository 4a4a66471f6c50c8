"""WRPO: golden values, properties, a second way token by token, closed-form gradients, TRL."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from inarch.align import DpoSettings, WrpoSettings, alpha_at, dpo, ln_dpo, wrpo
from inarch.align.ln_dpo import LnDpoSettings
from inarch.errors import DataError
from inarch.records import LossOut, TripleLengths, TripleLogps

from .made_up import golden_triples, random_triples, source_pair, target_pair
from .promises import rows


def constant(alpha: float, **settings: Any) -> WrpoSettings:
    return WrpoSettings(alpha=alpha, ramp=False, **({"beta": 0.1} | settings))


def loss(triples: tuple[TripleLogps, TripleLogps], settings: WrpoSettings) -> LossOut:
    return wrpo(*triples, settings, progress=0.0)


def dpos(triples: tuple[TripleLogps, TripleLogps], settings: DpoSettings) -> tuple[LossOut, ...]:
    """DPO of the source's pair and of the target's."""
    return tuple(dpo(*map(pair, triples), settings) for pair in (source_pair, target_pair))


# ------------------------------------------------------------------------------------ the loss


@pytest.mark.parametrize(
    ("beta", "alpha", "z", "each", "mean"),
    [
        (0.1, 0.0, (0.15, -0.1), (0.620957048, 0.744396660), 0.682676854),
        (0.1, 0.1, (0.16, -0.1075), (0.616343773, 0.748341017), 0.682342395),
        (0.1, 0.3, (0.18, -0.1225), (0.607191725, 0.756271790), 0.681731757),
        (0.1, 0.5, (0.20, -0.1375), (0.598138869, 0.764258602), 0.681198736),
        (0.1, 1.0, (0.25, -0.175), (0.575939420, 0.784470431), 0.680204925),
        (0.01, 0.1, (0.016, -0.01075), (0.685179180, 0.698536626), 0.691857903),
    ],
)
def test_golden(beta, alpha, z, each, mean):
    settings, triples = constant(alpha, beta=beta), golden_triples()
    for row in (0, 1):
        out = loss(tuple(rows(record, [row]) for record in triples), settings)
        assert out.loss.item() == pytest.approx(each[row], abs=1e-9)
        assert out.metrics["rewards/margins"].item() == pytest.approx(z[row], abs=1e-12)
    assert loss(triples, settings).loss.item() / 2 == pytest.approx(mean, abs=1e-9)
    single = loss(golden_triples(torch.float32), settings).loss
    assert single.dtype == torch.float32
    assert single.item() / 2 == pytest.approx(mean, abs=1e-6)


def test_golden_gradients():
    policy, reference = golden_triples()
    policy = policy._replace(**{n: getattr(policy, n).requires_grad_() for n in policy._fields[:3]})
    (loss((policy, reference), constant(0.3)).loss / 2).backward()
    found = [side.grad.tolist() for side in policy[:3]]
    expected = [
        [-0.006826817, -0.007958801],
        [-0.015929239, -0.018570537],
        [+0.022756055, +0.026529338],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_golden_label_smoothing():
    out = loss(golden_triples(), constant(0.3, label_smoothing=0.1))
    assert out.loss.item() / 2 == pytest.approx(0.684606757, abs=1e-9)


def test_is_no_mean_of_two_dpo_losses():
    source, target = dpos(golden_triples(), DpoSettings())
    assert (source.loss + target.loss).item() / 4 == pytest.approx(0.681440890, abs=1e-9)
    assert loss(golden_triples(), constant(0.5)).loss.item() / 2 == pytest.approx(0.681198736)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("length_norm", [False, True])
def test_against_another_way(smoothing: float, length_norm: bool):
    policy, reference = random_triples(3)
    settings = WrpoSettings(beta=0.4, alpha=0.7, label_smoothing=smoothing, length_norm=length_norm)
    total = 0.0
    for row in range(7):  # a probability that the blend wins, row by row
        reward = []
        for side in range(3):
            ratio = policy[side][row].item() - reference[side][row].item()
            reward.append(0.4 * ratio / (policy.lengths[side][row].item() if length_norm else 1))
        alpha = 0.7 * 0.25
        blend = math.exp(reward[0]) ** alpha * math.exp(reward[1]) ** (1 - alpha)
        wins = blend / (blend + math.exp(reward[2]))
        total -= (1 - smoothing) * math.log(wins) + smoothing * math.log(1 - wins)
    made = wrpo(policy, reference, settings, progress=0.25)
    assert made.loss.item() == pytest.approx(total, rel=1e-9)


def test_length_norm_at_the_ends_of_alpha_is_ln_dpo():
    triples = random_triples(4)
    for alpha, pair in ((0.0, target_pair), (1.0, source_pair)):
        made = loss(triples, constant(alpha, beta=7.0, length_norm=True)).loss
        torch.testing.assert_close(made, ln_dpo(*map(pair, triples), LnDpoSettings(beta=7.0)).loss)


# -------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_ends_of_alpha_are_dpo(smoothing: float):
    triples = random_triples()
    both = dpos(triples, DpoSettings(label_smoothing=smoothing))
    for alpha, expected in zip((1.0, 0.0), both, strict=True):
        made = loss(triples, constant(alpha, label_smoothing=smoothing))
        torch.testing.assert_close(made.loss, expected.loss, rtol=1e-12, atol=0)


@effort(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), alpha=st.floats(0.05, 0.95))
def test_jensen(seed: int, alpha: float):
    triples = random_triples(seed)
    source, target = dpos(triples, DpoSettings())
    bound = alpha * source.loss + (1 - alpha) * target.loss
    assert loss(triples, constant(alpha)).loss < bound
    # Equal where the two answers of the row are equally good.
    policy, reference = triples
    same = (
        policy._replace(source_B=policy.target_B),
        reference._replace(source_B=reference.target_B),
    )
    made = loss(same, constant(alpha)).loss
    torch.testing.assert_close(made, loss(same, constant(0.0)).loss)


@effort(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), alpha=st.floats(0, 1))
def test_closed_form_of_the_gradients(seed: int, alpha: float):
    policy, reference = random_triples(seed)
    loss((policy, reference), constant(alpha)).loss.backward()
    s, t, r = (
        0.1 * (p - q).detach().numpy() for p, q in zip(policy[:3], reference[:3], strict=True)
    )
    slope = 0.1 / (1 + np.exp(alpha * s + (1 - alpha) * t - r))
    grads = [side.grad.numpy() for side in policy[:3]]
    for grad, factor in zip(grads, (-alpha, alpha - 1, 1), strict=True):
        np.testing.assert_allclose(grad, factor * slope, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(sum(grads), 0, atol=1e-15)


def test_z_is_affine_in_alpha():
    triples = random_triples(5)
    z = [loss(triples, constant(a)).metrics["rewards/margins"].item() for a in (0, 0.25, 1)]
    assert z[1] == pytest.approx(0.75 * z[0] + 0.25 * z[2])
    assert abs(z[2] - z[0]) > 0.1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_starts_at_ln_2_for_every_alpha(smoothing: float):
    policy, _ = random_triples()
    for alpha in (0.0, 0.3, 1.0):
        out = loss((policy, policy), constant(alpha, label_smoothing=smoothing))
        assert out.loss.item() / 7 == pytest.approx(math.log(2), rel=1e-12)


def test_shared_constants_of_an_answer_cancel():
    policy, reference = random_triples()
    before = loss((policy, reference), constant(0.3)).loss
    for field in policy._fields[:3]:
        moved = [x._replace(**{field: getattr(x, field) + 4.5}) for x in (policy, reference)]
        torch.testing.assert_close(loss(tuple(moved), constant(0.3)).loss, before)


def test_adds_up_over_rows_in_any_order():
    policy, reference = random_triples()
    settings = constant(0.3)
    whole = loss((policy, reference), settings)
    parts = [
        loss((rows(policy, part), rows(reference, part)), settings)
        for part in ([5, 0], [1, 6, 2], [4, 3])
    ]
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)
    for name, value in whole.metrics.items():
        assert sum(part.metrics[name] for part in parts).item() == pytest.approx(value.item())


def test_full_smoothing_knows_no_sides():
    policy, reference = random_triples()
    settings = constant(0.0, label_smoothing=0.5)
    swapped = [
        x._replace(target_B=x.rejected_B, rejected_B=x.target_B) for x in (policy, reference)
    ]
    made, back = loss((policy, reference), settings), loss(tuple(swapped), settings)
    torch.testing.assert_close(made.loss, back.loss)


def test_the_order_of_the_chosen_matters():
    policy, reference = random_triples()
    swapped = [x._replace(source_B=x.target_B, target_B=x.source_B) for x in (policy, reference)]
    made = loss((policy, reference), constant(0.2)).loss
    torch.testing.assert_close(made, loss(tuple(swapped), constant(0.8)).loss)
    assert abs((made - loss(tuple(swapped), constant(0.2)).loss).item()) > 1e-3


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_extremes_are_finite(sign: float):
    zeros = TripleLogps(*(torch.zeros(1) for _ in range(3)))
    far = [torch.tensor([x], requires_grad=True) for x in (0.0, 0.0, sign * 1e5)]
    out = loss((TripleLogps(*far), zeros), constant(0.3))  # z = -+1e4
    assert out.loss.item() == pytest.approx(1e4 if sign > 0 else 0.0)
    out.loss.backward()
    assert far[2].grad.item() == pytest.approx(0.1 if sign > 0 else 0.0)


def test_no_gradient_reaches_the_reference():
    policy, _ = random_triples(0)
    frozen, _ = random_triples(1)
    loss((policy, frozen), constant(0.3)).loss.backward()
    assert all(side.grad is None for side in frozen[:3])
    assert all(side.grad is not None for side in policy[:3])


# --------------------------------------------------------------------------- alpha and metrics


def test_alpha_rises_with_the_share_of_steps_done():
    settings = WrpoSettings(alpha=0.1)
    steps = [alpha_at(step / 4, settings) for step in range(5)]
    assert steps == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1])
    assert [alpha_at(step / 4, constant(0.1)) for step in range(4)] == [0.1] * 4
    # Half-way is half of it, however many steps there are, and after a resumption too.
    assert alpha_at(155 / 310, settings) == alpha_at(2 / 4, settings)
    for progress in (-0.1, 1.1):
        with pytest.raises(ValueError, match="expected a share"):
            alpha_at(progress, settings)


def test_the_ramp_is_what_the_loss_uses():
    triples = random_triples()
    for progress in (0.0, 0.3, 1.0):
        out = wrpo(*triples, WrpoSettings(beta=0.1, alpha=0.8), progress=progress)
        expected = loss(triples, constant(0.8 * progress))
        torch.testing.assert_close(out.loss, expected.loss)
        assert out.metrics["alpha"].item() / 7 == pytest.approx(0.8 * progress)


def test_metrics_by_hand():
    # The case in which the released code's accuracy of the target's answers is .75: target .2 and
    # -.05 against rejected 0 and -.1. The source's are -.1 and .4; at alpha .5 the blend is .05
    # and .175.
    zeros = TripleLogps(*(torch.zeros(2, dtype=torch.float64) for _ in range(3)))
    policy = TripleLogps(
        *(torch.tensor(x, dtype=torch.float64) for x in ([-1.0, 4.0], [2.0, -0.5], [0.0, -1.0]))
    )
    out = loss((policy, zeros), constant(0.5))
    means = {name: value.item() / 2 for name, value in out.metrics.items()}
    assert means == pytest.approx(
        {
            "alpha": 0.5,
            "rewards/chosen": (0.05 + 0.175) / 2,
            "rewards/source_chosen": 0.15,
            "rewards/target_chosen": 0.075,
            "rewards/rejected": -0.05,
            "rewards/margins": (0.05 + 0.275) / 2,
            "rewards/accuracies": 1.0,
            "rewards/source_accuracies": 0.5,
            "rewards/pivot_accuracies": 1.0,
            "logps/chosen": (0.5 + 1.75) / 2,
            "logps/source_chosen": 1.5,
            "logps/target_chosen": 0.75,
            "logps/rejected": -0.5,
        }
    )
    assert not any(
        value.requires_grad for value in loss(random_triples(), constant(0.5)).metrics.values()
    )


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("field", ["source_B", "target_B", "rejected_B"])
@pytest.mark.parametrize("who", [0, 1])
def test_other_shapes_are_refused(who: int, field: str):
    triples = list(random_triples())
    values = getattr(triples[who], field)
    name = ("policy", "reference")[who]
    for wrong in (values[:-1], values[:, None]):
        triples[who] = triples[who]._replace(**{field: wrong})
        with pytest.raises(DataError, match=rf"{name}.{field} \[.*expected one shape \[B\]"):
            loss(tuple(triples), constant(0.3))


def test_length_norm_needs_lengths():
    policy, reference = random_triples()
    settings = constant(0.3, length_norm=True)
    with pytest.raises(DataError, match="without lengths"):
        loss((policy._replace(lengths=None), reference), settings)
    lengths = TripleLengths(*(x[:-1] for x in policy.lengths))
    with pytest.raises(DataError, match=r"policy\.lengths\.source_B \[6\]"):
        loss((policy._replace(lengths=lengths), reference), settings)
    loss((policy._replace(lengths=None), reference), constant(0.3))


# --------------------------------------------------------------------------------------- peers


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_trl_at_the_ends_of_alpha(alpha: float):
    from .trl_losses import tokens, trl_pairs

    source, target, rejected = (tokens(seed)[0][:5] for seed in range(3))
    masks = [tokens(seed)[1][:5] for seed in range(3)]
    old = [tokens(seed)[0][:5] * mask for seed, mask in zip((3, 4, 5), masks, strict=True)]
    triples = (
        TripleLogps(*(x.sum(1).requires_grad_() for x in (source, target, rejected))),
        TripleLogps(*(x.sum(1) for x in old)),
    )
    side = 0 if alpha else 1
    theirs, _ = trl_pairs(
        torch.cat([(source, target)[side], rejected]),
        torch.cat([old[side], old[2]]),
        torch.cat([masks[side], masks[2]]),
        "sigmoid",
        0.1,
    )
    made = loss(triples, constant(alpha)).loss / 5
    torch.testing.assert_close(made, theirs, rtol=1e-9, atol=0)

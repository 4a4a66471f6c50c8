"""DPO: golden values, a second way in numpy, closed-form gradients, TRL."""

import math

import numpy as np
import pytest
import torch

from inarch.align import DpoSettings, dpo
from inarch.records import LossOut, PairLengths, PairLogps

from .made_up import golden_pairs, random_pairs
from .promises import assert_gradients, assert_pair_promises


def loss(policy: PairLogps, reference: PairLogps) -> LossOut:
    return dpo(policy, reference, DpoSettings())


def test_golden():
    out = loss(*golden_pairs())
    assert out.loss.item() / 2 == pytest.approx(0.682676854, abs=1e-9)
    assert loss(*golden_pairs(torch.float32)).loss.item() / 2 == pytest.approx(
        0.682676854, abs=1e-6
    )
    # Log-ratios: chosen .5 and -.5, rejected -1 and .5; beta .1; the first row is right.
    means = {name: value.item() / 2 for name, value in out.metrics.items()}
    assert means == pytest.approx(
        {
            "rewards/chosen": 0.0,
            "rewards/rejected": -0.025,
            "rewards/margins": 0.025,
            "rewards/accuracies": 0.5,
            "logps/chosen": -15.25,
            "logps/rejected": -15.375,
        },
        abs=1e-12,
    )


def test_promises():
    assert_pair_promises(loss, reference=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_against_another_way(smoothing: float):
    policy, reference = random_pairs(1)
    settings = DpoSettings(beta=0.3, label_smoothing=smoothing)
    made = dpo(policy, reference, settings).loss.item()
    # As a classification of two: cross-entropy of softmax(rewards) with the label (1 - eps, eps).
    rewards = 0.3 * np.stack(
        [(p - r).detach().numpy() for p, r in zip(policy[:2], reference[:2], strict=True)]
    )
    logs = rewards - np.log(np.exp(rewards).sum(0))
    expected = -((1 - smoothing) * logs[0] + smoothing * logs[1]).sum()
    assert made == pytest.approx(expected, rel=1e-12)


def test_gradients():
    def closed_form(seed: int) -> tuple[np.ndarray, np.ndarray]:
        (c, r), (rc, rr) = ([x.detach().numpy() for x in y[:2]] for y in random_pairs(seed))
        slope = 0.1 / (1 + np.exp(0.1 * ((c - rc) - (r - rr))))
        return -slope, slope

    assert_gradients(loss, closed_form)


def test_starts_at_ln_2():
    policy, _ = random_pairs()
    for smoothing in (0.0, 0.2):
        settings = DpoSettings(label_smoothing=smoothing)
        assert dpo(policy, policy, settings).loss.item() / 7 == pytest.approx(math.log(2))


def test_extremes_are_finite():
    zeros = PairLogps(torch.zeros(1), torch.zeros(1))
    policy = PairLogps(torch.tensor([-1e5]), torch.zeros(1))
    for smoothing, expected in ((0.0, 1e4), (0.1, 9e3)):
        settings = DpoSettings(label_smoothing=smoothing)
        assert dpo(policy, zeros, settings).loss.item() == pytest.approx(expected, rel=1e-6)
    back = PairLogps(policy.rejected_B, policy.chosen_B)
    assert dpo(back, zeros, DpoSettings()).loss.item() == 0.0


def test_trl():
    from .trl_losses import tokens, trl_pairs

    (logps, mask), (reference, _) = tokens(0), tokens(1)
    logps, reference = logps.requires_grad_(), reference * mask
    theirs, metrics = trl_pairs(logps, reference, mask, "sigmoid", 0.1)
    policy = PairLogps(*logps.sum(1).chunk(2), PairLengths(*mask.sum(1).chunk(2)))
    made = dpo(policy, PairLogps(*reference.sum(1).chunk(2)), DpoSettings())
    torch.testing.assert_close(made.loss / 5, theirs, rtol=1e-9, atol=0)
    for name, value in made.metrics.items():
        assert value.item() / 5 == pytest.approx(metrics[name], rel=1e-6)
    slopes = [torch.autograd.grad(x, logps, retain_graph=True)[0] for x in (made.loss / 5, theirs)]
    torch.testing.assert_close(slopes[0] * mask, slopes[1] * mask, rtol=1e-9, atol=0)

"""SimPO: the golden value, a second way in numpy, closed-form gradients, TRL."""

import numpy as np
import pytest
import torch

from inarch.align import SimpoSettings, simpo
from inarch.records import LossOut, PairLengths, PairLogps

from .made_up import golden_pairs, random_pairs
from .promises import assert_gradients, assert_needs_lengths, assert_pair_promises


def loss(policy: PairLogps, reference: PairLogps) -> LossOut:
    return simpo(policy, SimpoSettings())


def means(policy: PairLogps) -> tuple[np.ndarray, np.ndarray]:
    return tuple(
        x.detach().numpy() / n.numpy() for x, n in zip(policy[:2], policy.lengths, strict=True)
    )


def test_golden():
    out = loss(*golden_pairs())
    assert out.loss.item() / 2 == pytest.approx(1.505399830, abs=1e-9)
    # Per token: -2 and -18.5 / 8; -14 / 5 and -16.75 / 9. The margin is no part of the reward.
    assert out.metrics["rewards/chosen"].item() == pytest.approx(2.5 * (-2 - 18.5 / 8))
    assert out.metrics["rewards/rejected"].item() == pytest.approx(2.5 * (-14 / 5 - 16.75 / 9))


def test_promises():
    assert_pair_promises(loss, reference=False)
    assert_needs_lengths(loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_against_another_way(smoothing: float):
    policy, _ = random_pairs(1)
    chosen, rejected = means(policy)
    z = 1.5 * (chosen - rejected - 0.4)  # gamma / beta = .4
    right = 1 / (1 + np.exp(-z))
    expected = -((1 - smoothing) * np.log(right) + smoothing * np.log1p(-right)).sum()
    settings = SimpoSettings(beta=1.5, gamma=0.6, label_smoothing=smoothing)
    assert simpo(policy, settings).loss.item() == pytest.approx(expected, rel=1e-9)


def test_gradients():
    def closed_form(seed: int) -> tuple[np.ndarray, np.ndarray]:
        policy, _ = random_pairs(seed)
        chosen, rejected = means(policy)
        slope = 2.5 / (1 + np.exp(2.5 * (chosen - rejected) - 1.375))
        n, m = (x.numpy() for x in policy.lengths)
        return -slope / n, slope / m

    assert_gradients(loss, closed_form)


def test_trl():
    from .trl_losses import tokens, trl_simpo

    logps, mask = tokens()
    policy = PairLogps(*logps.sum(1).chunk(2), PairLengths(*mask.sum(1).chunk(2)))
    theirs, *rewards = trl_simpo(
        *(logps.sum(1) / mask.sum(1)).chunk(2), beta=2.5, simpo_gamma=1.375, label_smoothing=0.1
    )
    made = simpo(policy, SimpoSettings(label_smoothing=0.1))
    torch.testing.assert_close(made.loss, theirs.sum(), rtol=1e-9, atol=0)
    for name, value in zip(("chosen", "rejected"), rewards, strict=True):
        torch.testing.assert_close(made.metrics[f"rewards/{name}"], value.sum())

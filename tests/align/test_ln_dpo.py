"""LN-DPO: the golden value, DPO of means, closed-form gradients, TRL."""

import math

import numpy as np
import pytest
import torch

from inarch.align import DpoSettings, LnDpoSettings, dpo, ln_dpo
from inarch.records import LossOut, PairLengths, PairLogps

from .made_up import golden_pairs, random_pairs
from .promises import assert_gradients, assert_needs_lengths, assert_pair_promises


def loss(policy: PairLogps, reference: PairLogps) -> LossOut:
    return ln_dpo(policy, reference, LnDpoSettings())


def test_golden():
    assert loss(*golden_pairs()).loss.item() / 2 == pytest.approx(0.752762212, abs=1e-9)
    # Per token: .5 / 6 + 1 / 5 = 17 / 60, and -.5 / 8 - .5 / 9 = -17 / 144; times beta.
    margins = loss(*golden_pairs()).metrics["rewards/margins"].item()
    assert margins == pytest.approx(10 * (17 / 60 - 17 / 144))


def test_promises():
    assert_pair_promises(loss, reference=True)
    assert_needs_lengths(loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_is_dpo_of_means(smoothing: float):
    policy, reference = random_pairs(2)
    means = [
        PairLogps(*(x / n for x, n in zip(y[:2], policy.lengths, strict=True)))
        for y in (policy, reference)
    ]
    expected = dpo(*means, DpoSettings(beta=7.0, label_smoothing=smoothing)).loss
    made = ln_dpo(policy, reference, LnDpoSettings(beta=7.0, label_smoothing=smoothing)).loss
    torch.testing.assert_close(made, expected)


def test_gradients():
    def closed_form(seed: int) -> tuple[np.ndarray, np.ndarray]:
        policy, reference = random_pairs(seed)
        (c, r), (rc, rr) = ([x.detach().numpy() for x in y[:2]] for y in (policy, reference))
        n, m = (x.numpy() for x in policy.lengths)
        slope = 10 / (1 + np.exp(10 * ((c - rc) / n - (r - rr) / m)))
        return -slope / n, slope / m

    assert_gradients(loss, closed_form)


def test_starts_at_ln_2():
    policy, _ = random_pairs()
    assert loss(policy, policy).loss.item() / 7 == pytest.approx(math.log(2))


def test_an_empty_answer_is_no_division_by_zero():
    lengths = PairLengths(torch.tensor([0]), torch.tensor([2]))
    policy = PairLogps(torch.tensor([0.0]), torch.tensor([-1.0]), lengths)
    reference = PairLogps(torch.tensor([0.0]), torch.tensor([-1.2]))
    # 10 (0 - .2 / 2) = -1
    assert loss(policy, reference).loss.item() == pytest.approx(math.log(1 + math.e))


def test_trl():
    from .trl_losses import tokens, trl_pairs

    (logps, mask), (reference, _) = tokens(0), tokens(1)
    reference = reference * mask
    theirs, _ = trl_pairs(logps, reference, mask, "sigmoid_norm", 10.0)
    policy = PairLogps(*logps.sum(1).chunk(2), PairLengths(*mask.sum(1).chunk(2)))
    made = loss(policy, PairLogps(*reference.sum(1).chunk(2)))
    torch.testing.assert_close(made.loss / 5, theirs, rtol=1e-9, atol=0)

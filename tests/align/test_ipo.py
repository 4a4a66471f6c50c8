"""IPO: golden values of both normalisations, a minimum by hand, closed-form gradients, TRL."""

import numpy as np
import pytest
import torch

from inarch.align import IpoSettings, ipo
from inarch.records import LossOut, PairLengths, PairLogps

from .made_up import golden_pairs, random_pairs
from .promises import assert_gradients, assert_needs_lengths, assert_pair_promises

TOKEN = IpoSettings(normalise="token")


def per_token(policy: PairLogps, reference: PairLogps) -> LossOut:
    return ipo(policy, reference, TOKEN)


def summed(policy: PairLogps, reference: PairLogps) -> LossOut:
    return ipo(policy, reference, IpoSettings())


def test_golden():
    assert per_token(*golden_pairs()).loss.item() / 2 == pytest.approx(24.220718557, abs=1e-9)
    # Gaps 1.5 and -1, both drawn to 5: (3.5^2 + 6^2) / 2.
    assert summed(*golden_pairs()).loss.item() / 2 == 24.125
    rewards = summed(*golden_pairs()).metrics["rewards/margins"].item()
    assert rewards == pytest.approx(0.1 * (1.5 - 1))


def test_promises():
    assert_pair_promises(per_token, reference=True)
    assert_pair_promises(summed, reference=True)
    assert_needs_lengths(per_token)
    policy, reference = golden_pairs()
    assert summed(policy._replace(lengths=None), reference).loss.item() == 48.25


def test_the_least_is_where_the_gap_is_half_the_inverse_of_beta():
    # beta 1/4: a gap of 2 nats, or of 2 nats per token.
    zeros = PairLogps(torch.zeros(1), torch.zeros(1))
    lengths = PairLengths(torch.tensor([4]), torch.tensor([2]))
    policy = PairLogps(torch.tensor([-1.0]), torch.tensor([-3.0]), lengths)
    assert ipo(policy, zeros, IpoSettings(beta=0.25)).loss.item() == 0.0
    policy = policy._replace(rejected_B=torch.tensor([-4.5]))  # -1 / 4 + 4.5 / 2 = 2
    assert ipo(policy, zeros, IpoSettings(beta=0.25, normalise="token")).loss.item() == 0.0


@pytest.mark.parametrize("normalise", ["sum", "token"])
def test_gradients(normalise: str):
    def closed_form(seed: int) -> tuple[np.ndarray, np.ndarray]:
        policy, reference = random_pairs(seed)
        (c, r), (rc, rr) = ([x.detach().numpy() for x in y[:2]] for y in (policy, reference))
        n, m = (x.numpy() for x in policy.lengths) if normalise == "token" else (1, 1)
        slope = 2 * ((c - rc) / n - (r - rr) / m - 5)
        return slope / n, -slope / m

    assert_gradients({"token": per_token, "sum": summed}[normalise], closed_form)


def test_trl():
    from .trl_losses import tokens, trl_pairs

    (logps, mask), (reference, _) = tokens(0), tokens(1)
    reference = reference * mask
    theirs, _ = trl_pairs(logps, reference, mask, "ipo", 0.1)
    policy = PairLogps(*logps.sum(1).chunk(2), PairLengths(*mask.sum(1).chunk(2)))
    made = per_token(policy, PairLogps(*reference.sum(1).chunk(2)))
    torch.testing.assert_close(made.loss / 5, theirs, rtol=1e-9, atol=0)

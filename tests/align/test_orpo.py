"""ORPO: golden values, a second way from probabilities, closed-form gradients, edges, TRL."""

import numpy as np
import pytest
import torch

from inarch.align import OrpoSettings, orpo
from inarch.records import LossOut, PairLengths, PairLogps

from .made_up import golden_pairs, random_pairs
from .promises import assert_gradients, assert_needs_lengths, assert_pair_promises


def loss(policy: PairLogps, reference: PairLogps) -> LossOut:
    return orpo(policy, OrpoSettings())


def odds_term(out: LossOut) -> torch.Tensor:
    return out.loss - out.metrics["nll"]


def pair(chosen: float, rejected: float, dtype: torch.dtype = torch.float32) -> PairLogps:
    """One pair of answers of one token."""
    ones = PairLengths(torch.tensor([1]), torch.tensor([1]))
    chosen_B, rejected_B = (torch.tensor([x], dtype=dtype) for x in (chosen, rejected))
    return PairLogps(chosen_B.requires_grad_(), rejected_B.requires_grad_(), ones)


def test_golden():
    policy, _ = golden_pairs()
    out = orpo(policy, OrpoSettings())
    assert odds_term(out).item() / 2 == pytest.approx(0.066517138, abs=1e-9)
    assert out.metrics["log_odds"].item() == pytest.approx(0.882676 - 0.516134, abs=2e-6)
    # The chosen answers: 12 nats over 6 tokens, 18.5 over 8.
    assert out.metrics["nll"].item() == pytest.approx(2 + 18.5 / 8)
    assert out.metrics["rewards/chosen"].item() == pytest.approx(-0.1 * (2 + 18.5 / 8))


def test_promises():
    assert_pair_promises(loss, reference=False)
    assert_needs_lengths(loss)


def test_by_hand():
    # Probabilities 3/4 and 1/5: odds 3 and 1/4, sigma(log 12) = 12 / 13.
    out = orpo(pair(np.log(3 / 4), np.log(1 / 5), torch.float64), OrpoSettings(beta=0.5))
    assert out.loss.item() == pytest.approx(np.log(4 / 3) + 0.5 * np.log(13 / 12))


def test_gradients():
    def closed_form(seed: int) -> tuple[np.ndarray, np.ndarray]:
        policy, _ = random_pairs(seed)
        n, m = (x.numpy() for x in policy.lengths)
        p, q = (x.detach().numpy() / k for x, k in zip(policy[:2], (n, m), strict=True))
        odds = [np.exp(x) / (1 - np.exp(x)) for x in (p, q)]
        slope = 0.1 * odds[1] / (odds[0] + odds[1])  # d log-odds / dx = 1 / (1 - e^x)
        return -(1 + slope / (1 - np.exp(p))) / n, slope / (1 - np.exp(q)) / m

    assert_gradients(loss, closed_form)


@pytest.mark.parametrize(
    ("chosen", "rejected"), [(0.0, 0.0), (0.0, -200.0), (-200.0, 0.0), (-1e-30, -1e-9), (-1e5, 0.0)]
)
def test_certain_and_impossible_answers_are_finite(chosen: float, rejected: float):
    policy = pair(chosen, rejected)
    out = orpo(policy, OrpoSettings())
    out.loss.backward()
    exact = [min(x, -1e-7) for x in (chosen, rejected)]
    odds = [x - np.log(-np.expm1(x)) for x in exact]
    expected = -chosen + 0.1 * np.logaddexp(0, odds[1] - odds[0])
    assert out.loss.item() == pytest.approx(expected, rel=1e-5)
    assert all(torch.isfinite(side.grad).all() for side in policy[:2])


def test_trl():
    from .trl_losses import tokens, trl_odds

    logps, mask = tokens()
    policy = PairLogps(*logps.sum(1).chunk(2), PairLengths(*mask.sum(1).chunk(2)))
    theirs = trl_odds(*(logps.sum(1) / mask.sum(1)).chunk(2), beta=0.1)
    # TRL computes in float32.
    assert odds_term(loss(policy, policy)).item() == pytest.approx(theirs.sum().item(), rel=1e-6)

import math

import pytest
import torch

from inarch.fuse import chunk


def test_value_by_hand():
    # Chunk 0: target .5 * .4 = .2, teacher .3: -.3 ln .2 - .7 ln .8 = .48283 + .15620 = .63903
    logps = torch.log(torch.tensor([0.5, 0.4, 0.9]))
    made = chunk(logps, torch.tensor([0, 0, -1]), torch.log(torch.tensor([0.3])))
    torch.testing.assert_close(made, torch.tensor([0.63903, 0.63903, 0.0]), atol=1e-5, rtol=0)


def test_least_where_the_likelihoods_agree():
    teacher = torch.log(torch.tensor([0.3]))
    at = torch.log(torch.tensor([0.3], requires_grad=True))
    (slope,) = torch.autograd.grad(chunk(at, torch.tensor([0]), teacher).sum(), at)
    assert slope.item() == pytest.approx(0, abs=1e-6)
    for other in (0.1, 0.5):
        off = chunk(torch.log(torch.tensor([other])), torch.tensor([0]), teacher)
        assert off.item() > chunk(at, torch.tensor([0]), teacher).item()


def test_how_the_target_cuts_the_chunk_does_not_matter():
    teacher = torch.tensor([math.log(0.3)])
    whole = chunk(torch.tensor([math.log(0.2)]), torch.tensor([0]), teacher)
    parts = chunk(torch.log(torch.tensor([0.5, 0.4])), torch.tensor([0, 0]), teacher)
    assert parts[0].item() == pytest.approx(whole[0].item(), abs=1e-6)


def test_certainty_stays_finite_and_no_chunk_costs_nothing():
    made = chunk(torch.zeros(1), torch.tensor([0]), torch.tensor([math.log(0.5)]))
    assert 1 < made.item() < 20
    assert chunk(torch.zeros(2), torch.tensor([-1, -1]), torch.zeros(0)).tolist() == [0, 0]

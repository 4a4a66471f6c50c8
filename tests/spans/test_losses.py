"""Losses of tokens: by hand, and where they agree with each other."""

import math

import pytest
import torch

from inarch.spans.losses import token_loss

PROBS = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=torch.float64)
TAGS = torch.tensor([0, 1, 1])


def test_by_hand():
    logps = PROBS.log()
    ce = -(math.log(0.9) + math.log(0.4) + math.log(0.8))
    assert token_loss("ce", logps, TAGS).item() == pytest.approx(ce)
    focal = -(0.01 * math.log(0.9) + 0.36 * math.log(0.4) + 0.04 * math.log(0.8))
    assert token_loss("focal", logps, TAGS).item() == pytest.approx(focal)
    # O: 2 * .9 / (1.7 + 1); TOXIC: 2 * 1.2 / (1.3 + 2); the value counts once per token.
    dice = 1 - (1.8 / 2.7 + 2.4 / 3.3) / 2
    assert token_loss("dice", logps, TAGS).item() == pytest.approx(3 * dice, abs=1e-5)


def test_nothing_is_lost_where_all_is_certain():
    logps = torch.tensor([[0.0, -1e4], [-1e4, 0.0]])
    tags = torch.tensor([0, 1])
    for name in ("ce", "focal", "dice"):
        assert token_loss(name, logps, tags).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["ce", "focal", "dice"])
def test_gradients(name):
    scores = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tags = torch.tensor([0, 1, 1, 0, 1])
    assert torch.autograd.gradcheck(
        lambda s: token_loss(name, s.log_softmax(1), tags), scores.requires_grad_()
    )


def test_dice_forgives_a_tag_that_neither_side_has():
    logps = torch.tensor([[0.0, -1e4]] * 3)
    assert token_loss("dice", logps, torch.zeros(3, dtype=torch.int64)).item() == 0

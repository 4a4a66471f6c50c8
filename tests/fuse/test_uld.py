import math

import pytest
import torch

from inarch.fuse import uld


def test_value_by_hand():
    # Target .5 .3 .2 sorted; teacher .6 .1 and a tail of .3: |.6-.5| + |.1-.3| + |.3-.2| = .4
    logits = torch.log(torch.tensor([[0.3, 0.2, 0.5]]))
    teacher = torch.log(torch.tensor([[0.6, 0.1]]))
    assert uld(logits, teacher, torch.tensor([math.log(0.3)])).item() == pytest.approx(
        0.4, abs=1e-6
    )


def test_ids_do_not_matter():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 9, generator=g)
    teacher = torch.randn(4, 3, generator=g).log_softmax(-1)
    tail = torch.full((4,), -math.inf)
    shuffled = logits[:, torch.randperm(9, generator=g)]
    torch.testing.assert_close(uld(logits, teacher, tail), uld(shuffled, teacher, tail))


def test_zero_for_the_same_distribution_and_at_most_two():
    logits = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    best = logits.log_softmax(-1).topk(8).values
    nothing = torch.full((5,), -math.inf)
    torch.testing.assert_close(uld(logits, best, nothing), torch.zeros(5), atol=1e-6, rtol=0)
    certain = torch.tensor([[0.0, -math.inf]])
    flat = torch.zeros(1, 1000)
    assert 1.99 < uld(flat, certain, nothing[:1]).item() <= 2


def test_a_teacher_with_more_candidates_than_the_target_has_ids():
    # Teacher .5 .25 .25 against two ids of .5: |.5-.5| + |.25-.5| + .25 left over = .5
    teacher = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    assert uld(torch.zeros(1, 2), teacher, torch.tensor([-math.inf])).item() == pytest.approx(0.5)


def test_gradient_against_differences():
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float32)
    teacher = torch.randn(2, 3, generator=torch.Generator().manual_seed(3)).log_softmax(-1) - 0.3
    tail = torch.log1p(-teacher.exp().sum(-1))
    logits.requires_grad_()
    uld(logits, teacher, tail).sum().backward()
    step = torch.zeros_like(logits)
    step[0, 2] = 1e-3
    with torch.no_grad():
        slope = (uld(logits + step, teacher, tail) - uld(logits - step, teacher, tail)).sum() / 2e-3
    assert logits.grad is not None
    assert logits.grad[0, 2].item() == pytest.approx(slope.item(), abs=2e-3)

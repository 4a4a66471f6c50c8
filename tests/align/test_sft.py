"""SFT: nats by hand, additivity, one gradient for all, TRL."""

import pytest
import torch

from inarch.align import SftSettings, sft
from inarch.errors import DataError
from inarch.records import AnswerLogps


def test_by_hand():
    # Two answers of probabilities 1/2 1/4 and 1/8: 3 + 3 bits.
    logps_B = torch.tensor([1 / 8, 1 / 8], dtype=torch.float64).log().requires_grad_()
    out = sft(AnswerLogps(logps_B), SftSettings())
    assert out.loss.item() == pytest.approx(6 * 0.6931471805599453)
    assert out.metrics["nll"].item() == out.loss.item()
    out.loss.backward()
    assert logps_B.grad.tolist() == [-1, -1]


def test_low_precision_is_summed_in_float32():
    logps_B = torch.full((301,), -3.0, dtype=torch.bfloat16)
    assert sft(AnswerLogps(logps_B), SftSettings()).loss.item() == 903  # no bfloat16 number


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match=r"policy.answer_B \[2, 3\]; expected one shape \[B\]"):
        sft(AnswerLogps(torch.zeros(2, 3)), SftSettings())


def test_trl():
    from .trl_losses import tokens, trl_pairs

    logps, mask = tokens()
    theirs, _ = trl_pairs(logps, logps, mask, "sft", 0.1)
    chosen, there = logps[:5], mask[:5]
    made = sft(AnswerLogps(chosen.sum(1)), SftSettings())
    torch.testing.assert_close(made.loss / there.sum(), theirs)

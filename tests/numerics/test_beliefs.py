import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.numerics import top_beliefs


def test_by_hand() -> None:
    # Probabilities 1/8, 1/2, 1/4, 1/8: best two are ids 1 and 2, 1/4 is left.
    logits_NV = torch.tensor([[1.0, 4.0, 2.0, 1.0]]).log()
    beliefs = top_beliefs(logits_NV, 2, torch.tensor([3]))
    assert beliefs.ids_Nk.tolist() == [[1, 2]]
    assert beliefs.logps_Nk.exp().tolist()[0] == pytest.approx([1 / 2, 1 / 4])
    assert beliefs.tail_N.exp().item() == pytest.approx(1 / 4)
    assert beliefs.next_logps_N.exp().item() == pytest.approx(1 / 8)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 35), st.integers(1, 5), st.integers(0, 10**6))
def test_ties_go_to_the_lowest_id(width: int, k: int, num_values: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_NV = torch.randint(num_values, (8, width), generator=generator).bfloat16()
    beliefs = top_beliefs(logits_NV, k, torch.zeros(8, dtype=torch.long))
    # Python's sort is stable: equal logits stay in the order of their ids.
    expected = [
        sorted(range(width), key=lambda i, row=row: -row[i])[:k] for row in logits_NV.tolist()
    ]
    assert beliefs.ids_Nk.tolist() == expected


def test_k_of_the_whole_vocabulary_is_the_softmax_and_leaves_no_tail() -> None:
    logits_NV = torch.randn(5, 7)
    beliefs = top_beliefs(logits_NV, 100, torch.zeros(5, dtype=torch.long))
    probs_NV = torch.zeros(5, 7).scatter(1, beliefs.ids_Nk, beliefs.logps_Nk.exp())
    torch.testing.assert_close(probs_NV, logits_NV.softmax(1), atol=1e-6, rtol=0)
    assert beliefs.tail_N.tolist() == [-math.inf] * 5


def test_stored_mass_and_tail_make_one_where_the_tail_is_tiny() -> None:
    logits_NV = torch.cat([torch.zeros(4, 1), torch.full((4, 1000), -60.0)], dim=1)
    beliefs = top_beliefs(logits_NV, 10, torch.zeros(4, dtype=torch.long))
    # 991 ids of e^-60 each are left beside a mass of 1
    assert beliefs.tail_N.tolist() == pytest.approx([math.log(991) - 60] * 4)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_unsound_row_is_told_from_sound_ones(bad: float) -> None:
    logits_NV = torch.randn(3, 9)
    logits_NV[1, 8] = bad
    logits_NV[2, 4] = -torch.inf  # an id that is ruled out is no error
    beliefs = top_beliefs(logits_NV, 2, torch.zeros(3, dtype=torch.long))
    assert beliefs.finite_N().tolist() == [True, False, True]

"""Scores of answers, counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.evaluate import score_answers

WORDS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5)


def test_pieces_count_at_their_place_only() -> None:
    answers = ["Resan, Boudras, Mevubrol", "17, 6, 4", "geasex nepil"]
    expected = ["Resan, Boudras, Melu", "6, 17, 4", "geasex nepil rouzil feawe"]
    # right: 2 of 3, then 1 of 3 (two swapped), then 2 of 4: 5 of 10. None is right in full.
    assert score_answers(answers, expected) == (0.5, 0.0, 3)


def test_an_answer_with_a_piece_too_many_is_not_exact() -> None:
    # All three pieces stand at their place in both; only the second has nothing else.
    score = score_answers(["6, 17, 4, 9", " 6,17,\n4"], ["6, 17, 4", "6, 17, 4"])
    assert score == (1.0, 0.5, 2)


def test_the_share_is_over_all_pieces_and_not_a_mean_of_shares() -> None:
    # 1 of 1 and 0 of 3: 1/4, where a mean of shares would be 1/2.
    assert score_answers(["a", ""], ["a", "b c d"]).piece_frac == 0.25


@given(WORDS)
def test_a_right_answer_scores_one_however_it_is_spaced(words: list[str]) -> None:
    assert score_answers([",  ".join(words)], [" ".join(words)]) == (1.0, 1.0, 1)


def test_answers_without_expected_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        score_answers(["a", "b"], ["a"])

"""The bootstrap over prompts: counts, means by hand, and the error that theory gives."""

import numpy as np
import pytest

from inarch.evaluate._resample import draw_counts, percentiles, totals, weighted_means


def test_each_draw_has_as_many_prompts_as_there_are():
    counts = draw_counts(7, 100)
    assert counts.shape == (100, 7)
    assert (counts.sum(1) == 7).all()
    assert (draw_counts(7, 100) == counts).all()
    assert (draw_counts(7, 100, seed=1) != counts).any()


def test_a_draws_mean_is_by_weight():
    # drawn twice the first and once the third: (2 * 4 + 0) / (2 * 4 + 2)
    found = weighted_means(
        np.array([4.0, 9.0, 0.0]), np.array([4.0, 1.0, 2.0]), np.array([[2.0, 0, 1]])
    )
    assert found == pytest.approx([8 / 10])


def test_totals_are_by_prompt():
    assert list(totals(np.array([0, 2, 0]), np.array([1.0, 2.0, 0.5]), 4)) == [1.5, 0, 2, 0]


def test_percentiles_leave_the_same_share_on_both_sides():
    assert percentiles(np.arange(101.0), 0.9) == pytest.approx((5, 95))
    assert percentiles(np.array([np.nan, *range(101)]), 0.9) == pytest.approx((5, 95))


def test_the_spread_over_draws_is_the_standard_error():
    scores = np.random.default_rng(0).normal(size=400)
    drawn = weighted_means(scores, np.ones(400), draw_counts(400, 4000))
    # sd / sqrt(n); 4000 draws tell it to 1 / sqrt(8000), about 1 %
    assert drawn.std() == pytest.approx(scores.std() / 20, rel=0.04)

"""The bootstrap over prompts: counts, means by hand, and the error that theory gives."""

from itertools import product

import numpy as np
import pytest

from inarch.evaluate._resample import (
    draw_counts,
    draws_for,
    draws_p_value,
    holm,
    percentiles,
    swap_p_value,
    totals,
    weighted_means,
)


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


# ------------------------------------------------------------------------------ p-values


def test_swaps_by_hand():
    # 2 * 3 - 1 * 1 = 5 apart: as they are, and all swapped, of 8
    sums, weights = np.array([[3.0, 3, 3], [1, 1, 1]]), np.ones((2, 3))
    assert swap_p_value(sums, weights) == pytest.approx(2 / 8, abs=0.015)
    assert swap_p_value(sums, weights) == swap_p_value(sums[::-1], weights)
    assert swap_p_value(np.ones((2, 3)), weights) == 1


@pytest.mark.parametrize("seed", range(3))
def test_swaps_against_all_of_them(seed):
    """Each prompt's score and weight go to the other side or not: 2 ** 9 ways."""
    random = np.random.default_rng(seed)
    weights = random.integers(1, 6, size=(2, 9)).astype(float)
    scores = random.normal(np.array([[0.5], [0.0]]), size=(2, 9))
    found = swap_p_value(scores * weights, weights)

    def apart(swap):
        swap = np.array(swap)
        sides = [np.where(swap, x[::-1], x) for x in (scores, weights)]
        means = (sides[0] * sides[1]).sum(1) / sides[1].sum(1)
        return abs(means[0] - means[1])

    every = [apart(swap) >= apart([False] * 9) - 1e-12 for swap in product([False, True], repeat=9)]
    assert found == pytest.approx(np.mean(every), abs=0.02)


def test_swaps_find_what_a_paired_t_test_finds():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    level = random.normal(0, 10, size=200)
    scores = np.stack([level + random.normal(0.15, 1, 200), level + random.normal(0, 1, 200)])
    found = swap_p_value(scores, np.ones((2, 200)))
    assert found == pytest.approx(stats.ttest_rel(*scores).pvalue, rel=0.15, abs=0.003)


def test_a_p_value_of_draws():
    # 3 of 99 at or below 0: 2 * 4 / 100
    assert draws_p_value(np.r_[np.full(3, -1.0), np.full(96, 2.0)]) == pytest.approx(0.08)
    assert draws_p_value(np.r_[np.full(3, 1.0), np.full(96, -2.0)]) == pytest.approx(0.08)
    assert draws_p_value(np.zeros(50)) == 1
    assert draws_p_value(np.ones(1999)) == pytest.approx(0.001)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04: times 4 3 2 1, and never less than the one before
    assert holm([0.03, 0.01, 0.04, 0.02], 4) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.01, 0.4, 0.03], 3) == pytest.approx([0.03, 0.4, 0.06])
    assert holm([0.2], 1) == [0.2]
    # two of five are known: times 5 and 4
    assert holm([0.02, 0.01], 5) == pytest.approx([0.08, 0.05])
    assert holm([0.3, 0.6], 5) == [1, 1]


def test_what_is_unknown_makes_holm_no_bolder():
    random = np.random.default_rng(0)
    for _ in range(200):
        p = random.uniform(size=6) ** 3
        known = random.choice(6, size=3, replace=False)
        whole = np.array(holm(list(p), 6))[known]
        assert (np.array(holm(list(p[known]), 6)) >= whole - 1e-12).all()


def test_a_higher_level_needs_more_draws():
    # 2.5 % of 2000 are 50; 0.125 % are 10 of 8000
    assert draws_for(0.95) == 2000
    assert draws_for(0.9975) == pytest.approx(8000, abs=1)
    assert draws_for(1 - 1e-6) == 20_000
    assert draws_for(0.95, 1000) == 1000

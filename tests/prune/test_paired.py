"""Paired differences between candidates."""

from math import inf, sqrt

import numpy as np
import pytest

from inarch.prune._paired import gap, gap_error


def test_by_hand():
    # Row sums 1, 2, 3 and 2, 4, 3 over 1, 2, 1 tokens: differences 1, 2, 0, mean 3 / 4 per token.
    # Residuals 1/4, 1/2, -3/4; squares 14/16; error sqrt(3/2 * 14/16) / 4.
    first, second, weights = [1.0, 2.0, 3.0], [2.0, 4.0, 3.0], [1, 2, 1]
    assert gap(first, second, weights) == 0.75
    assert gap(second, first, weights) == -0.75
    assert gap_error(first, second, weights) == pytest.approx(sqrt(1.5 * 14 / 16) / 4)


def test_rows_of_one_weight_have_the_usual_error():
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    usual = np.std(second - first, ddof=1) / sqrt(30)
    assert gap_error(list(first), list(second), [1] * 30) == pytest.approx(usual)


def test_fewer_rows_than_weights_and_one_row():
    assert gap([1.0, 1.0], [2.0, 2.0], [1, 1, 5]) == 1.0
    assert gap_error([1.0, 1.0], [2.0, 2.0], [1, 1, 5]) == 0.0
    assert gap_error([1.0], [2.0], [1]) == inf


def test_the_error_is_that_over_draws_of_rows():
    # 4000 sets of 40 rows of 3 to 12 tokens: the spread of the gap is the error, on average.
    rng = np.random.default_rng(1)
    gaps, errors = [], []
    for _ in range(4000):
        weights = rng.integers(3, 13, 40)
        hard = rng.normal(3, 1, 40)  # shared by both candidates, and so without a say
        first = hard * weights
        second = (hard + rng.normal(0.1, 0.3, 40)) * weights
        gaps.append(gap(list(first), list(second), list(weights)))
        errors.append(gap_error(list(first), list(second), list(weights)))
    assert np.mean(gaps) == pytest.approx(0.1, abs=0.004)
    assert np.mean(errors) == pytest.approx(np.std(gaps), rel=0.05)

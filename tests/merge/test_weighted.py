"""Sums over a tensor, however they are cut and computed."""

import numpy as np
import pytest
import torch

from inarch.merge import _loops
from inarch.merge._weighted import LANES, add_parts, shares, sums_of_magnitudes, sums_of_squares

SIZES = [0, 1, LANES - 1, LANES, 5 * LANES + 3, 2000]


@pytest.mark.parametrize("size", SIZES)
def test_sums_against_float64(size, monkeypatch):
    values = np.random.default_rng(size).normal(size=(3, size)).astype(np.float32)
    # each square is rounded once, to 2^-24 of itself
    expected = (values.astype(np.float64) ** 2).sum(axis=1)
    found = sums_of_squares(values)
    np.testing.assert_allclose(found, expected, rtol=2**-23, atol=0)
    np.testing.assert_allclose(
        sums_of_magnitudes(values), np.abs(values.astype(np.float64)).sum(axis=1), rtol=1e-14
    )
    assert sums_of_squares(torch.from_numpy(values)) == found
    monkeypatch.setattr(_loops, "squares", None)
    assert sums_of_squares(values) == found


def test_tiny_changes_beside_large_ones_count():
    # 1e8 + 1000 x 1: float32 has no room for the ones behind 1e8
    values = np.ones((1, 1001), np.float32)
    values[0, 0] = 1e4
    assert sums_of_squares(values) == (1e8 + 1000,)


def test_parts_are_added_without_rounding_in_between():
    assert add_parts([(1e16, 1.0), (1.0, 2.0), (-1e16, 3.0)], 2) == (1.0, 6.0)
    assert add_parts([], 2) == (0.0, 0.0)


def test_shares_by_hand():
    assert shares((1.0, 3.0)) == (0.25, 0.75)
    assert shares((0.0, 0.0)) == (0.5, 0.5)
    assert shares((1e-7, 3e-7), least=1e-6) == (0.5, 0.5)
    assert shares((0.0, 2.0)) == (0.0, 1.0)

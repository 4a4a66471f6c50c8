"""Weighted sums, plain and compiled."""

import numpy as np
import pytest

from inarch.merge import _sums
from inarch.merge._stack import Part
from inarch.merge._sums import weighted, weighted_move, weighted_sum

from .merging import assert_close, f32
from .promises import assert_same_bits


def test_by_hand():
    models, base = f32([[1, 2], [3, 4]]), f32([10, 20])
    assert weighted_sum(models, (0.5, 2)).tolist() == [6.5, 9]
    assert weighted_sum(models, (0.5, 2), base, -1.0).tolist() == [-3.5, -11]
    assert weighted_sum(models, (0, 0), base, 0.0).tolist() == [0, 0]
    # 10 + .5 (1 - 10) + 2 (3 - 10), 20 + .5 (2 - 20) + 2 (4 - 20)
    assert weighted_move(base, models, (0.5, 2)).tolist() == [-8.5, -21]
    assert weighted_move(base, models, (0, 0)).tolist() == [10, 20]
    assert weighted(Part(0, models, None), (0.5, 2)).tolist() == [6.5, 9]
    assert weighted(Part(0, models, base), (0.5, 2)).tolist() == [-8.5, -21]


@pytest.mark.parametrize("num", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 31, 2048, 2049, 5000])
def test_compiled_and_plain_give_the_same_bits(num, size, monkeypatch):
    rng = np.random.default_rng(size)
    models, base = f32(rng.normal(size=(num, size))), f32(rng.normal(size=size))
    cases = [rng.normal(size=num), np.zeros(num), np.eye(num)[num - 1], [1e-60] * num]

    def results():
        for weights in cases:
            yield weighted_sum(models, weights)
            yield weighted_sum(models, weights, base, 0.3)
            yield weighted_move(base, models, weights)

    compiled = list(results())
    monkeypatch.setattr(_sums, "_sum_compiled", None)
    monkeypatch.setattr(_sums, "_move_compiled", None)
    for fast, plain in zip(compiled, results(), strict=True):
        assert_same_bits(fast, plain)
    wide = np.float64(cases[0])
    assert_close(compiled[0], wide @ models.astype(np.float64), scale=10)
    moved = base + wide @ (models.astype(np.float64) - base)
    assert_close(compiled[2], moved, scale=20)


def test_the_arrays_of_the_caller_stay():
    models, base = f32([[1, 2]]), f32([3, 4])
    for weights in ((0.0,), (1.0,)):
        weighted_sum(models, weights, base, 1.0)[:] = 9
        weighted_move(base, models, weights)[:] = 9
    assert models.tolist() == [[1, 2]]
    assert base.tolist() == [3, 4]

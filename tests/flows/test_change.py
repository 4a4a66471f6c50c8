"""How far two arrays are apart: by hand, against float64, and the two ways with the same bits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.flows._diff import change as _change
from inarch.flows._diff.change import LANES, Change, measure, total

SIZES = (0, 1, 7, LANES - 1, LANES, LANES + 1, 5 * LANES, 5 * LANES + 3)


def floats(values) -> np.ndarray:
    return np.array(values, np.float32)


def pair(size: int, seed: int = 0, changed: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(size).astype(np.float32)
    step = (rng.random(size) < changed) * rng.standard_normal(size)
    return a, (a + 0.1 * step).astype(np.float32)


def test_by_hand():
    change = measure(floats([3, 0, -4, 1]), floats([3, 2, -1, -0.5]))
    # b - a is 0, 2, 3, -1.5, squares 4 + 9 + 2.25; of a 9 + 16 + 1; of b 9 + 4 + 1 + .25;
    # a b is 9 + 4 - .5
    assert change == Change(4, 3, 15.25, 26.0, 14.25, 12.5, 3.0)
    assert change.norm == math.sqrt(15.25)
    assert change.relative == pytest.approx(math.sqrt(15.25 / 26))
    assert change.cosine == pytest.approx(12.5 / math.sqrt(26 * 14.25))
    assert change.changed_frac == 0.75


def test_parts_add_up_to_the_whole():
    a, b = pair(3000)
    parts = [measure(a[i : i + 1000], b[i : i + 1000]) for i in range(0, 3000, 1000)]
    whole, sums = measure(a, b), total(parts)
    assert (sums.num, sums.changed, sums.largest) == (whole.num, whole.changed, whole.largest)
    assert sums[2:6] == pytest.approx(whole[2:6], rel=1e-14)
    assert total([]) == Change()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["_add", "_add_compiled"])
def test_against_sums_that_are_exact(size, way, monkeypatch):
    if getattr(_change, way) is None:
        pytest.skip("needs numba")
    if way == "_add":
        monkeypatch.setattr(_change, "_add_compiled", None)
    a, b = pair(size, seed=size, changed=0.4)
    change, exact_a, exact_b = measure(a, b), a.tolist(), b.tolist()
    steps = [y - x for x, y in zip(exact_a, exact_b, strict=True)]
    assert change.num == size
    assert change.changed == sum(step != 0 for step in steps)
    assert change.square == pytest.approx(math.fsum(s * s for s in steps), rel=1e-14)
    assert change.square_a == pytest.approx(math.fsum(x * x for x in exact_a), rel=1e-14)
    assert change.square_b == pytest.approx(math.fsum(y * y for y in exact_b), rel=1e-14)
    product = math.fsum(x * y for x, y in zip(exact_a, exact_b, strict=True))
    assert change.product == pytest.approx(product, rel=1e-14)
    assert change.largest == max(map(abs, steps), default=0.0)


@pytest.mark.skipif(_change._add_compiled is None, reason="needs numba")
@pytest.mark.parametrize("size", SIZES)
def test_both_ways_give_the_same_bits(size):
    a, b = pair(size, seed=size)
    a[: size // 3] *= 1e8  # so that the order of sums matters
    both = [np.zeros((6, LANES)) for _ in range(2)]
    for add, totals in zip((_change._add, _change._add_compiled), both, strict=True):
        add(a, b, totals)
    assert both[0].tobytes() == both[1].tobytes()


def test_float64_keeps_what_float32_would_lose():
    a = np.array([1.0, 2.0])
    change = measure(a, a + 1e-12)
    assert change.changed == 2
    assert change.norm == pytest.approx(math.sqrt(2) * 1e-12, rel=1e-3)


def test_a_sum_of_many_small_squares_is_not_lost_in_a_large_one():
    a, b = np.zeros(1 << 16, np.float32), np.full(1 << 16, 1e-4, np.float32)
    b[0] = 1e4
    # 1e8 + 65535 * 1e-8: float32 sums would keep 1e8, this keeps the 6.6e-4
    assert measure(a, b).square - 1e8 == pytest.approx(65535e-8, rel=0.01)


def test_zeros_have_signs_that_do_not_count_and_no_direction():
    nothing = measure(floats([0.0, 0.0]), floats([-0.0, 0.0]))
    assert nothing.changed == 0
    assert (nothing.norm, nothing.relative, nothing.cosine) == (0.0, 0.0, None)
    grown = measure(floats([0.0]), floats([2.0]))
    assert (grown.norm, grown.relative, grown.cosine) == (2.0, None, None)
    assert Change().changed_frac == 0.0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40))
def test_an_array_is_where_it_is(values):
    a = floats(values)
    change = measure(a, a.copy())
    assert (change.norm, change.largest, change.changed, change.relative) == (0.0, 0.0, 0, 0.0)
    assert change.cosine == (1.0 if change.square_a > 0 else None)
    turned = measure(a, -a)
    if turned.square_a > 0:
        assert turned.cosine == pytest.approx(-1.0, rel=1e-15)
        assert turned.relative == 2.0

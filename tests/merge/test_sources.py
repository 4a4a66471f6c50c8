"""Rows by a map, low-rank updates, and their sum, which no library takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.merge import _sources
from inarch.merge._sources import GIVEN, MEAN, Givers, LowRankSource, RowsSource, add_product


class Rows:
    """A source in memory."""

    label, dtype = "m", "F32"

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, np.float32)
        self.shape = self.values.shape
        self.reads: list[tuple[int, int]] = []
        self.hints: list[str] = []

    def fill(self, start: int, out: np.ndarray) -> bool:
        self.reads.append((start, len(out)))
        out[:] = self.values.reshape(-1)[start : start + len(out)]
        return bool(np.isfinite(out).all())

    def raw(self):
        return self.values.reshape(-1)

    def prefetch(self):
        self.hints.append("prefetch")

    def release(self):
        self.hints.append("release")


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


NO_GIVERS = Givers(np.zeros(100, np.int32), ints(), ints())


def whole(source) -> np.ndarray:
    out = np.empty(source.shape, np.float32)
    assert source.fill(0, out.reshape(-1))
    return out


def test_rows_that_follow_each_other_are_read_at_once():
    rows = Rows(np.arange(24).reshape(8, 3))
    source = RowsSource(rows, ints(2, 3, 4, 0, 1, 7), NO_GIVERS, [rows])
    np.testing.assert_array_equal(whole(source), rows.values[[2, 3, 4, 0, 1, 7]])
    assert rows.reads == [(6, 9), (0, 6), (21, 3)]
    assert (source.shape, source.label, source.dtype) == ((6, 3), "m", "F32")
    part = np.empty(6, np.float32)
    assert source.fill(6, part)  # rows 2 and 3 of the result
    np.testing.assert_array_equal(part.reshape(2, 3), rows.values[[4, 0]])


def test_a_row_from_others_is_their_mean_in_the_order_of_the_models():
    # 1e8 + 1 - 1e8 in float32: 1e8 + 1 rounds to 1e8, so 0 / 3 in this order, 1 / 3 in the other.
    a, b, c = (Rows([[value, 5]]) for value in (1e8, 1, -1e8))
    for order, expected in (((0, 1, 2), 0.0), ((0, 2, 1), np.float32(1) / np.float32(3))):
        givers = Givers(ints(0, 3, 3), ints(*order), ints(0, 0, 0))
        made = whole(RowsSource(a, ints(GIVEN, GIVEN), givers, [a, b, c]))
        assert made.tolist() == [[expected, 5], [0, 0]]  # and from nobody, zero


def test_padding_is_the_mean_of_the_other_rows():
    rows, other = Rows([[1, 2], [4, 8], [100, 100]]), Rows([[7, 11]])
    givers = Givers(ints(0, 0, 0, 1, 1, 1), ints(1), ints(0))
    source = RowsSource(rows, ints(1, 0, GIVEN, MEAN, MEAN), givers, [rows, other])
    assert whole(source).tolist() == [[4, 8], [1, 2], [7, 11], [4, 7], [4, 7]]
    last = np.empty(2, np.float32)
    assert source.fill(8, last)
    assert last.tolist() == [4, 7]


def test_biases_have_rows_of_one_number():
    rows = Rows([1, 2, 4])
    source = RowsSource(rows, ints(2, GIVEN, 0), Givers(ints(0, 0, 1, 1), ints(0), ints(1)), [rows])
    assert whole(source).tolist() == [4, 2, 1]


def test_what_is_not_finite_is_reported_wherever_it_comes_from():
    rows, bad = Rows([[1], [2]]), Rows([[np.nan], [2]])
    givers = Givers(ints(0, 0, 1), ints(1), ints(0))
    out = np.empty(2, np.float32)
    assert not RowsSource(rows, ints(0, GIVEN), givers, [rows, bad]).fill(0, out)
    assert not RowsSource(bad, ints(1, 0), NO_GIVERS, [bad]).fill(0, out)
    assert RowsSource(bad, ints(1, 1), NO_GIVERS, [bad]).fill(0, out)


def test_rows_that_stay_are_still_on_disk():
    rows = Rows(np.arange(8).reshape(4, 2))
    assert RowsSource(rows, ints(0, 1, 2), NO_GIVERS, [rows]).raw().tolist() == [0, 1, 2, 3, 4, 5]
    assert RowsSource(rows, ints(0, 2, 1), NO_GIVERS, [rows]).raw() is None
    assert LowRankSource(rows, lambda: (np.zeros((4, 1)), np.zeros((1, 2)))).raw() is None


def test_factors_are_loaded_once_and_let_go():
    loads = []

    def load():
        loads.append(1)
        return np.ones((4, 1), np.float32), np.ones((1, 2), np.float32)

    source = LowRankSource(Rows(np.zeros((4, 2))), load)
    for expected in (1, 2):
        assert (whole(source) == 1).all()
        assert (whole(source) == 1).all()
        assert len(loads) == expected
        source.release()


def test_hints_are_passed_on():
    rows = Rows(np.zeros((2, 2)))
    for source in (RowsSource(rows, ints(0), NO_GIVERS, [rows]), LowRankSource(rows, lambda: None)):
        rows.hints.clear()
        source.prefetch()
        source.release()
        assert rows.hints == ["prefetch", "release"]


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 11), st.integers(0, 2**32 - 1))
def test_the_product_and_its_plain_twin_give_the_same_bits(rows, columns, rank, seed):
    random = np.random.default_rng(seed)
    out, left, right = (
        random.standard_normal(shape).astype(np.float32)
        for shape in ((rows, columns), (rows, rank), (rank, columns))
    )
    exact = out.astype(np.float64) + left.astype(np.float64) @ right.astype(np.float64)
    plain = out.copy()
    for k in range(rank):  # one term after the other, each product and sum rounded
        plain += left[:, k : k + 1] * right[k]
    loud = np.abs(left) @ np.abs(right) + np.abs(out)
    assert (np.abs(plain - exact) <= (rank + 1) * 2**-24 * loud).all()
    add_product(out, left, right)
    np.testing.assert_array_equal(out.view(np.uint32), plain.view(np.uint32))


@pytest.mark.parametrize("is_compiled", [True, False])
def test_long_rows_are_summed_alike(monkeypatch, is_compiled):
    if not is_compiled:
        monkeypatch.setattr(_sources, "_PRODUCT", None)
    random = np.random.default_rng(0)
    left, right = random.integers(-9, 9, (3, 6)), random.integers(-9, 9, (6, 4100))
    source = LowRankSource(
        Rows(np.ones((5, 4100))),
        lambda: (np.pad(left, ((1, 1), (0, 0))).astype(np.float32), right.astype(np.float32)),
    )
    expected = 1 + np.pad(left @ right, ((1, 1), (0, 0)))  # whole numbers, so exact
    np.testing.assert_array_equal(whole(source), expected)
    part = np.empty(2 * 4100, np.float32)
    assert source.fill(2 * 4100, part)
    np.testing.assert_array_equal(part.reshape(2, -1), expected[2:4])

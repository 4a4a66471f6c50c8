"""Cuts against a sort."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.merge import _select
from inarch.merge._select import KEEP_ALL, KEEP_NONE, Band, Cut, cuts
from inarch.merge._stack import ArrayStack

from .merging import KINDS, f32, stack


def kept(values_JN, counts_J, *, kind="numpy", part_elements=1 << 17):
    """Which elements each row's cuts keep, ``[J][C, N]``."""
    made = stack(values_JN, None, kind, part_elements)
    found = cuts(made, lambda part: part.models_KN, lambda _: counts_J, len(values_JN))

    def keep(row, cut):
        parts = made.map(lambda part: np.asarray(cut.keep(part.models_KN[row], part.start)))
        return np.concatenate(parts)

    return [np.array([keep(row, cut) for cut in cuts_C]) for row, cuts_C in enumerate(found)]


def by_sort(values_N, count):
    order = np.lexsort((np.arange(len(values_N)), -np.abs(values_N)))
    keep = np.zeros(len(values_N), bool)
    keep[order[: max(count, 0)]] = True
    return keep


def test_by_hand():
    # Magnitudes 3 2 2 1 2: of three kept, the 3 and the first two 2s.
    values = f32([3, -2, 2, 1, -2])
    for part_elements in (1, 2, 3, 5):
        ((keep,),) = kept([values], [[3]], part_elements=part_elements)
        assert keep.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part_elements", [7, 64, 1000])
@pytest.mark.parametrize("values", ["normal", "grid", "zeros", "equal", "one"])
def test_as_a_sort(values, part_elements, kind):
    rng = np.random.default_rng(1)
    num = 1 if values == "one" else 500
    rows_JN = {
        "normal": rng.normal(size=(2, num)),
        "grid": np.round(rng.normal(size=(2, num)) * 8) / 8,
        "zeros": rng.normal(size=(2, num)) * (rng.random((2, num)) > 0.7),
        "equal": np.full((2, num), -0.25),
        "one": np.ones((2, num)),
    }[values].astype(np.float32)
    counts = [[num // 2, 1], [num - 1, 0, num, num + 5, num // 3]]
    for row_N, keep_CN, count_C in zip(
        rows_JN, kept(rows_JN, counts, kind=kind, part_elements=part_elements), counts, strict=True
    ):
        for keep_N, count in zip(keep_CN, count_C, strict=True):
            np.testing.assert_array_equal(keep_N, by_sort(row_N, count))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.floats(-4, 4, width=32),
            st.sampled_from([0.0, -0.0, 1e-42, -1e-42, 1e-45, 1.0, -1.0, 1.0000001, 3e38]),
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(-1, 41),
    st.integers(1, 41),
)
def test_any_values(values, count, part_elements):
    row = f32(values)
    ((keep,),) = kept([row], [[count]], part_elements=part_elements)
    np.testing.assert_array_equal(keep, by_sort(row, count))


def test_how_many_are_not_zero():
    told = []

    def counts(nonzero):
        told.extend(nonzero)
        return [[1], [1]]

    made = stack([f32([0, -0.0, 1, 1e-42]), f32([0, 2, 3, 4])], None)
    cuts(made, lambda part: part.models_KN, counts, 2)
    # 1e-42 is below 2^-133 = 9e-41
    assert told == [1, 3]


def test_the_tensor_is_read_once_where_nothing_is_cut():
    made, reads = stack([f32([1, 2, 3])], None), []

    def measure(part):
        reads.append(part.start)
        return part.models_KN

    assert cuts(made, measure, lambda _: [[3, 0, 9, -1]], 1) == [
        [KEEP_ALL, KEEP_NONE, KEEP_ALL, KEEP_NONE]
    ]
    assert reads == [0]
    cuts(made, measure, lambda _: [[1, 2]], 1)
    assert reads == [0, 0, 0]


def test_the_floor_says_what_keep_says():
    row = f32([2, 1, 2, 1, 2, 1, 1])
    ((cut,),) = cuts(stack([row], None, part_elements=2), lambda p: p.models_KN, lambda _: [[5]], 1)
    # 2s are the elements 0, 2 and 4; of the 1s the first two stay: elements 1 and 3.
    assert cut == Cut(int(f32(1).view(np.int32)), part=2, rest=1)
    one = int(f32(1).view(np.int32))
    assert [cut.floor(start) for start in (0, 2, 4, 6)] == [one, None, one + 1, one + 1]
    assert cut.keep(f32([1, 2]), 0).tolist() == [True, True]
    assert cut.keep(f32([2, 1]), 2).tolist() == [True, True]
    assert cut.keep(f32([2, 1]), 4).tolist() == [True, False]


def test_a_band_is_what_lies_between_two_cuts():
    row = f32([1, 2, 3, 4, 5])
    ((low, high),) = cuts(stack([row], None), lambda p: p.models_KN, lambda _: [[4, 2]], 1)
    assert Band(low, high).keep(row, 0).tolist() == [False, True, True, False, False]
    assert Band(low).keep(row, 0).tolist() == [False, True, True, True, True]
    assert not Band(KEEP_ALL, KEEP_ALL).keep(row, 0).any()


class Threaded(ArrayStack):
    """Parts are measured by four threads, the last ones first."""

    def map(self, measure):
        parts = super().map(lambda part: part)
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(measure, parts[::-1]))[::-1]


def test_threads_change_nothing():
    rows = np.round(np.random.default_rng(0).normal(size=(2, 5000)) * 64).astype(np.float32) / 64
    counts = [[777, 2500], [1]]
    expected, found = (
        cuts(made(list(rows), part_elements=50), lambda p: p.models_KN, lambda _: counts, 2)
        for made in (ArrayStack, Threaded)
    )
    assert found == expected


def test_compiled_and_plain_count_alike(monkeypatch):
    row = np.random.default_rng(0).normal(size=4001).astype(np.float32)
    fast = kept([row], [[1234]], part_elements=500)
    monkeypatch.setattr(_select, "_count_compiled", None)
    np.testing.assert_array_equal(kept([row], [[1234]], part_elements=500), fast)

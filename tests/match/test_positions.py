"""Pairs of positions that end at the same byte."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.match import pair_positions
from inarch.records import NO_BOUNDARY


def pairs(target, source):
    mine, theirs = pair_positions(np.array(target, np.int32), np.array(source, np.int32))
    return list(zip(mine.tolist(), theirs.tolist(), strict=True))


def ends_of(*tokens):
    return np.cumsum([len(token) for token in tokens]).tolist()


class TestByHand:
    def test_a1_ha_ha(self):
        # ha|ha|! ends at 2, 4, 5; haha|! at 4, 5
        assert pairs(ends_of("ha", "ha", "!"), ends_of("haha", "!")) == [(1, 0), (2, 1)]

    def test_a2_banana(self):
        assert pairs(ends_of("ban", "a", "na", "!"), ends_of("banana", "!")) == [(2, 0), (3, 1)]

    def test_a3_one_target_token_over_several(self):
        target, source = ends_of("b", "ana", "!"), ends_of("b", "a", "n", "a", "!")
        assert pairs(target, source) == [(0, 0), (1, 3), (2, 4)]

    def test_a4_begin_on_one_side_and_padding_change_nothing(self):
        target, source = ends_of("ha", "ha", "!"), ends_of("haha", "!")
        padded = [*source, *[NO_BOUNDARY] * 7]
        assert pairs(target, padded) == [(1, 0), (2, 1)]
        assert pairs([*target, NO_BOUNDARY], source) == [(1, 0), (2, 1)]
        assert pairs([NO_BOUNDARY, *target], [NO_BOUNDARY, NO_BOUNDARY, *source]) == [
            (2, 2),
            (3, 3),
        ]

    def test_the_last_of_several_that_end_at_one_byte(self):
        # begin of text and a lone ▁ both end at 0; what comes next is spelled after the ▁
        assert pairs([0, 0, 1], [0, 1]) == [(1, 0), (2, 1)]
        assert pairs([0, 1], [0, 0, 0, 1]) == [(0, 2), (1, 3)]

    def test_before_the_dummy_space_is_another_place(self):
        assert pairs([-1, 0, 1], [0, 1]) == [(1, 0), (2, 1)]

    def test_no_boundary_matches_nothing_not_even_itself(self):
        assert pairs([NO_BOUNDARY, 3], [NO_BOUNDARY, 3]) == [(1, 1)]

    @pytest.mark.parametrize(("target", "source"), [([], []), ([1], []), ([], [1]), ([-2], [-2])])
    def test_nothing_to_pair(self, target, source):
        assert pairs(target, source) == []


ROWS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40).map(
    lambda steps: [
        end if known else NO_BOUNDARY
        for end, (_, known) in zip(
            itertools.accumulate(step for step, _ in steps), steps, strict=True
        )
    ]
)


class TestProperties:
    @given(ROWS, ROWS)
    def test_a6_against_a_dictionary(self, target, source):
        last = {end: j for j, end in enumerate(source)}  # a later position replaces an earlier one
        mine = {end: i for i, end in enumerate(target)}
        expected = [(i, last[e]) for e, i in mine.items() if e in last and e != NO_BOUNDARY]
        assert pairs(target, source) == sorted(expected)

    @given(ROWS, ROWS)
    def test_a6_swap_is_the_transpose_and_order_is_kept(self, target, source):
        found = pairs(target, source)
        assert [(i, j) for j, i in pairs(source, target)] == found
        for (i, j), (later, other) in itertools.pairwise(found):
            assert i < later
            assert j < other

    @given(ROWS)
    def test_a5_a_row_with_itself(self, row):
        for i, j in pairs(row, row):
            assert i == j

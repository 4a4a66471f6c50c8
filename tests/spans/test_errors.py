"""Kinds of mistakes: by hand, and what they add up to."""

import itertools

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from inarch.spans.errors import KINDS, error_kinds
from inarch.spans.offsets import runs


def characters(drawing: str) -> list[int]:
    return [i for i, letter in enumerate(drawing) if letter == "x"]


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ("..xxx..", "..xxx..", {"exact": 1}),
        ("..xxx..", ".xxxx..", {"longer": 1}),
        ("..xxx..", "..xxxx.", {"longer": 1}),
        ("..xxx..", "...x...", {"shorter": 1}),
        ("..xxx..", "...xxx.", {"crossing": 1}),
        ("..xxx..", "x......", {"missed": 1, "added": 1}),
        ("..xxx..", ".....x.", {"missed": 1, "added": 1}),  # they touch and do not overlap
        ("xx.xx..", "xxxxx..", {"joined": 1}),
        ("xx.xx..", ".xxx...", {"joined": 1}),
        ("xxxxx..", "xx.xx..", {"split": 1}),
        ("xx.xx..", ".xxx.xx", {"joined": 1, "added": 1}),
        ("xx.xxx.", ".xxx.xx", {"mixed": 1}),
        ("xx.xx.x", "xx....x", {"exact": 2, "missed": 1}),
        (".......", "x.x....", {"added to empty": 2}),
        (".......", ".......", {}),
    ],
)
def test_kinds_by_hand(gold, predicted, expected):
    found = error_kinds([characters(predicted)], [characters(gold)])
    assert tuple(found) == KINDS
    assert {kind: number for kind, number in found.items() if number} == expected


POST = st.sets(st.integers(0, 14))


@effort(max_examples=150, deadline=None)
@given(POST, POST)
def test_the_other_way_round(first, second):
    there, back = error_kinds([first], [second]), error_kinds([second], [first])
    turned = {"longer": "shorter", "joined": "split", "missed": "added"}
    for kind in ("exact", "crossing", "mixed"):
        assert there[kind] == back[kind]
    if first and second:
        for kind, other in turned.items():
            assert (there[kind], there[other]) == (back[other], back[kind])
    # A group is a run of what either has, but where one ends as the other begins.
    assert sum(there.values()) == len(runs(first | second)) + _touching(first, second)


def _touching(first: set[int], second: set[int]) -> int:
    """Return at how many places one ends and the other begins, without a common character."""
    owners = [(i in first, i in second) for i in range(15)]
    cuts = 0
    for left, right in itertools.pairwise(owners):
        cuts += (
            any(left) and any(right) and not (left[0] and right[0]) and not (left[1] and right[1])
        )
    return cuts

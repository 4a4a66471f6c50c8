"""What the policy learns of revised answers: filters, distances and reports, by hand."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.align._decode import Revised
from inarch.align._revised_rows import FilterSettings, Scores, edit_frac, left_out, report
from inarch.errors import SettingsError
from inarch.settings import validate

ORIGINALS = ["four", "same", "1234567890", "", "one", "one", "kept"]
MADE = [
    Revised("four more", 1),
    Revised("same", 2),
    Revised("1234", 2),
    Revised("", 0),
    Revised("two", 1),
    Revised("two", 1),
    Revised("kept", None, "unparsable"),
]


def reasons(scores=None, **filters) -> list[str]:
    return left_out(ORIGINALS, MADE, FilterSettings(**filters), scores)


def test_filters_by_hand():
    assert reasons() == ["", "", "", "empty answer", "", "", ""]
    assert reasons(identical=True) == ["", "identical revision", "", "empty answer", "", "", ""]
    # 9 / 4 is over 2, 4 / 10 is under .5, and so is nothing that is kept.
    ratio = "length ratio"
    assert reasons(length_ratio=(0.5, 2.0)) == [ratio, "", ratio, "empty answer", "", "", ""]
    assert reasons(length_ratio=(0.4, 2.25)) == ["", "", "", "empty answer", "", "", ""]
    assert reasons(duplicates=True) == ["", "", "", "empty answer", "", "duplicate", ""]


def test_the_score_gate_is_for_revisions():
    before = (0.0, 1.0, 0.5, math.nan, 0.0, 0.0, 1.0)
    after = (0.2, 1.0, 0.4, math.nan, math.nan, 0.5, 0.0)
    gate, scores = "score gate", Scores(before, after)
    expected = ["", gate, gate, "empty answer", gate, "", ""]
    assert reasons(scores, min_gain=0.2) == expected
    assert reasons(scores, min_gain=0.0) == ["", "", gate, "empty answer", gate, "", ""]


def test_a_row_that_is_left_out_is_no_duplicate_of_another():
    made = [Revised("same", 1), Revised("same", 1)]
    found = left_out(["same", "other"], made, FilterSettings(identical=True, duplicates=True))
    assert found == ["identical revision", ""]


def test_ratios_in_their_order():
    with pytest.raises(SettingsError, match="the lower one first"):
        validate(FilterSettings, {"length_ratio": [2.0, 0.5]}, "here")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", 0.0),
        ("a", "", 1.0),
        ("", " \n", 0.0),
        ("a b c", "a b c", 0.0),
        ("a b c", "a  b\nc ", 0.0),
        ("a b c d", "a c d", 1 / 4),
        ("a b c d", "b c d e", 2 / 4),
        ("a b", "c d e f", 1.0),
        ("don't", "don't!", 1 / 4),  # don ' t
        ("你好吗", "你好", 1 / 3),
        ("ok 👍", "ok 👎", 1 / 2),
        ("naïve café", "naïve bar", 1 / 2),
    ],
)
def test_edits_by_hand(one: str, other: str, expected: float):
    assert edit_frac(one, other) == pytest.approx(expected)


def recursive(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        recursive(a[1:], b) + 1, recursive(a, b[1:]) + 1, recursive(a[1:], b[1:]) + (a[0] != b[0])
    )


def test_edits_are_levenshtein_s():
    rng = Random(0)
    for _ in range(60):
        a, b = (rng.choices("xyz", k=rng.randint(1, 5)) for _ in range(2))
        assert edit_frac(" ".join(a), " ".join(b)) == recursive(a, b) / max(len(a), len(b))


@given(one=st.text(max_size=40), other=st.text(max_size=40))
def test_properties_of_edits(one: str, other: str):
    found = edit_frac(one, other)
    assert 0 <= found <= 1
    assert found == edit_frac(other, one)
    assert edit_frac(one, one) == 0


def test_a_report_by_hand():
    originals = ["a b", "a b", "a b", "a b", "a b"]
    made = [
        Revised("a b", 0),
        Revised("a c", 1),
        Revised("c d", 2),
        Revised("a b", None, "unparsable"),
        Revised("a b", None, "empty"),
    ]
    why = ["", "duplicate", "", "", ""]
    scores = Scores((1, 0, 0, math.nan, 2), (1, 1, 0.5, math.nan, 2))
    found = report(originals, made, why, ("K", "m", "M"), scores)
    assert found == {
        "num_answers": 5,
        "label_fracs": {"K": 0.2, "m": 0.2, "M": 0.2},
        "keep_frac": 0.2,
        "failures": {"unparsable": 1, "empty": 1},
        "mean_edit_frac": pytest.approx((0 + 0.5 + 1 + 0 + 0) / 5),
        "left_out": {"duplicate": 1},
        "num_rows": 4,
        "score_before": 0.75,
        "score_after": 1.125,
        "num_scored": 4,
    }
    unscored = report(originals, made, why, ("K", "m", "M"))
    assert (unscored["score_before"], unscored["num_scored"]) == (None, 0)

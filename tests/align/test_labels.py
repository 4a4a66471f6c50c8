"""A reviser's training rows: labels by hand, shares, what is kept, what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from inarch.align._labels import (
    Distance,
    LabelSettings,
    distances,
    label,
    limits,
    revisions,
)
from inarch.errors import DataError, SettingsError
from inarch.settings import validate

GAPS = LabelSettings(scale="gap", thresholds=(0.5, 2.0))


def drawn(found: list[Distance], settings: LabelSettings, seed: int = 0):
    return revisions(found, settings, torch.Generator().manual_seed(seed))


def rivals(*gaps: float) -> list[Distance]:
    """One prompt per gap."""
    return [Distance(f"row {i}", f"p{i}", f"best{i}", f"a{i}", gap) for i, gap in enumerate(gaps)]


def test_distances_from_scores_and_from_ranks():
    found = distances("row 1", "p", ["a", "b", "c"], [1.0, 3.0, 2.5])
    assert found == [
        Distance("row 1", "p", "b", "a", 2.0),
        Distance("row 1", "p", "b", "c", 0.5),
    ]
    ranked = distances("row 1", "p", ["a", "b", "c"], [-3, -1, -2])
    assert [(d.best, d.answer, d.gap) for d in ranked] == [("b", "a", 2), ("b", "c", 1)]
    assert distances("", "p", ["a", "b"], [0.4, 0.3])[0].gap == 0.1
    # Of equals the first is the best, and the other is as good.
    assert distances("", "p", ["a", "b"], [1, 1]) == [Distance("", "p", "a", "b", 0)]


@pytest.mark.parametrize(
    ("answers", "scores", "found"),
    [
        (["a"], [1.0], "1 answers and 1 scores"),
        (["a", "b"], [1.0], "2 answers and 1 scores"),
        (["a", "b"], [1.0, math.nan], r"scores \[1.0, nan\]"),
        (["a", "b"], [math.inf, 0.0], r"scores \[inf, 0.0\]"),
    ],
)
def test_scores_that_say_nothing_are_refused(answers, scores, found):
    with pytest.raises(DataError, match=f"^row 7: found {found}"):
        distances("row 7", "p", answers, scores)


def test_labels_at_the_edges():
    # Up to the threshold and no further.
    edges = ((0.0, 0), (0.5, 0), (0.51, 1), (2.0, 1), (2.01, 2), (1e9, 2))
    assert [label(gap, (0.5, 2.0)) for gap, _ in edges] == [index for _, index in edges]
    assert [label(gap, (0.0,)) for gap in (0.0, 1e-9)] == [0, 1]


def test_quantiles_by_hand():
    # Of five gaps, the lowest 0, 2 and 5.
    gaps = [4.0, 1.0, 3.0, 5.0, 2.0]

    def at(*shares: float) -> tuple[float, ...]:
        names = tuple("abcd"[: len(shares) + 1])
        return limits(gaps, LabelSettings(names=names, thresholds=shares))

    assert at(0.0, 0.4, 1.0) == (0.0, 2.0, 5.0)
    assert at(0.19, 0.59) == (0.0, 2.0)
    assert limits([float(x) for x in range(1, 101)], LabelSettings(thresholds=(0.29, 0.57))) == (
        29.0,
        57.0,
    )
    assert limits(gaps, GAPS) == (0.5, 2.0)


def test_rows_by_hand():
    made = drawn(rivals(0.2, 1.0, 3.0, 2.0), GAPS)
    # Three to revise and a share of .4 want two to keep: the near one, and one best answer.
    *rows, best = made.rows
    assert [(r.prompt, r.original, r.label, r.target) for r in rows] == [
        ("p0", "a0", 0, "[No Revise]\na0"),
        ("p1", "a1", 1, "[Minor Revise]\nbest1"),
        ("p2", "a2", 2, "[Major Revise]\nbest2"),
        ("p3", "a3", 1, "[Minor Revise]\nbest3"),
    ]
    assert (best.label, best.target) == (0, f"[No Revise]\n{best.original}")
    assert best.original == f"best{best.prompt[1:]}"
    assert (made.thresholds, made.counts) == ((0.5, 2.0), (2, 2, 1))


def test_the_label_to_keep_may_stand_alone():
    made = drawn(rivals(0.2, 1.0), GAPS.model_copy(update={"keep_text": False}))
    assert [row.target for row in made.rows[:2]] == ["[No Revise]", "[Minor Revise]\nbest1"]


@effort(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.floats(0, 10), min_size=1, max_size=40),
    frac=st.floats(0.05, 0.6),
    seed=st.integers(0, 99),
)
def test_properties_of_rows(gaps: list[float], frac: float, seed: int):
    settings = LabelSettings(thresholds=(0.0, 0.5), keep_frac=frac)
    found = rivals(*gaps)
    if not any(gaps):
        with pytest.raises(DataError, match="expected some to revise"):
            drawn(found, settings)
        return
    made = drawn(found, settings, seed)
    assert made == drawn(found, settings, seed)
    assert sum(made.counts) == len(made.rows)
    assert made.rows[: len(gaps)] == drawn(found, settings, seed + 1).rows[: len(gaps)]
    for row in made.rows:
        name, _, text = row.target.partition("\n")
        assert name == settings.names[row.label]
        assert text == (row.original if row.label == 0 else f"best{row.prompt[1:]}")
    # As near to the share as whole rows allow, unless near answers are more, or best ones run out.
    near, more = gaps.count(0.0), len(made.rows) - len(gaps)
    wanted = frac / (1 - frac) * (len(gaps) - near)
    assert more in (0, len(gaps)) or abs(near + more - wanted) <= 0.51
    assert more == len(gaps) or near + more + 0.51 >= wanted
    assert more == 0 or near + more - 0.51 <= wanted
    originals = [row.original for row in made.rows[len(gaps) :]]
    assert len(set(originals)) == more


def test_a_best_answer_is_drawn_once_however_many_it_beat():
    found = distances("row 0", "p", list("abcdef"), [0, 1, 2, 3, 4, 9])
    made = drawn(found, LabelSettings(keep_frac=0.9))
    assert [row.original for row in made.rows] == list("abcdef")
    assert made.counts == (1, 2, 3)


def test_few_to_keep_are_told(caplog):
    drawn(rivals(*range(1, 40)), LabelSettings(keep_frac=0.04))
    assert "only 2 of 41 rows are to be kept" in caplog.text
    caplog.clear()
    drawn(rivals(*range(1, 40)), LabelSettings(keep_frac=0.08))
    assert not caplog.text


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"names": ["keep"], "thresholds": []}, "at least 2"),
        ({"names": ["a", "a", "b"]}, "different texts"),
        ({"names": ["a", "b ", "c"]}, "different texts of one line"),
        ({"names": ["a", "b\nb", "c"]}, "different texts of one line"),
        ({"names": ["a", "", "c"]}, "different texts of one line"),
        ({"thresholds": [0.5]}, "found 1 thresholds for 3 names"),
        ({"thresholds": [0.5, 0.5]}, "ascending"),
        ({"thresholds": [-0.1, 0.5]}, "ascending"),
        ({"thresholds": [0.5, 1.5]}, r"ascending in \[0, 1.0\]"),
        ({"keep_frac": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_do_not_fit(wrong, problem):
    with pytest.raises(SettingsError, match=problem):
        validate(LabelSettings, wrong, "here")

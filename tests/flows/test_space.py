"""Values of a search and points of its cube: by hand, and there and back."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inarch.flows._search.space import Space, Variable, fill, find_mismatches


def variable(**settings) -> Variable:
    return Variable.model_validate(settings)


SPACE = Space(
    {
        "method": variable(choices=("ties", "sce", "linear")),
        "w": variable(low=-1, high=3),
        "g": variable(low=0, high=1, points=2),
        "d": variable(low=0.01, high=1.0, log=True),
    }
)


def test_values_by_hand():
    assert SPACE.num_choices == (3, 0, 0, 0, 0)
    assert SPACE.size == math.inf
    # -1 + .25 * 4 = 0; .01 * 100 ** .5 = .1
    assert SPACE.values(np.array([0.4, 0.25, 0.5, 0.125, 0.5])) == {
        "method": "sce",
        "w": 0.0,
        "g": (0.5, 0.125),
        "d": 0.1,
    }


@pytest.mark.parametrize(
    ("share", "choice"),
    [(0.0, "ties"), (0.333, "ties"), (0.334, "sce"), (0.667, "linear"), (0.9999, "linear")],
)
def test_a_choice_owns_an_equal_stretch(share, choice):
    assert SPACE.variables["method"].value([share]) == choice


def test_the_centre():
    # the first choice, whose stretch is [0, 1/3), and the middle of all ranges
    np.testing.assert_allclose(SPACE.center(), [1 / 6, 0.5, 0.5, 0.5, 0.5])
    assert SPACE.values(SPACE.center())["method"] == "ties"


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5))
def test_there_and_back(shares):
    values = SPACE.values(np.array(shares))
    again = json.loads(json.dumps(values))
    point = SPACE.point(again)
    assert int(point[0] * 3) == min(int(shares[0] * 3), 2)
    # four digits of a number between -1 and 3, or of its logarithm over a range of log(100)
    np.testing.assert_allclose(point[1:4], shares[1:4], atol=2e-4)
    np.testing.assert_allclose(point[4], shares[4], atol=2e-4)
    assert json.dumps(SPACE.values(point)) == json.dumps(values)


def test_numbers_are_short_and_within_their_range():
    third = variable(low=1 / 3, high=2 / 3)
    assert third.value([0.5]) == 0.5
    assert third.value([0.12345]) == 0.3745  # 1/3 + .04115 = .374483
    assert third.value([0.0]) == 1 / 3  # .3333 would be below
    assert third.value([0.9999999]) == 2 / 3  # .6667 would be above


def test_the_number_of_trials_there_are():
    assert Space({"a": variable(choices=(1, 2)), "b": variable(choices=("x", "y", "z"))}).size == 6


def test_choices_may_be_lists():
    layers = variable(choices=((0, 4), (2, 6)))
    assert layers.value([0.6]) == (2, 6)
    assert layers.shares([2, 6]) == [0.75]  # as JSON has it


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "expected low and high, or choices"),
        ({"low": 1}, "expected low and high, or choices"),
        ({"low": 1, "high": 1}, "low must be below high, found 1 and 1"),
        ({"low": 2, "high": 1}, "low must be below high, found 2 and 1"),
        ({"low": 0, "high": 1, "log": True}, "low must be above 0 with log, found 0"),
        ({"choices": ("a", "b"), "log": True}, "choices have no low, high, log or points"),
        ({"choices": ("a", "a")}, "a choice appears twice"),
        ({"choices": ("a",)}, "at least 2 items"),
        ({"choices": ()}, "at least 2 items"),
        ({"low": 0, "high": math.inf}, "finite"),
        ({"low": 0, "high": 1, "points": 0}, "greater than 0"),
    ],
)
def test_bad_ranges(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        variable(**settings)


def test_values_are_put_in_their_places():
    template = {"merge_method": "$m", "models": ({"weight": "$w"}, "$5 a day", "a $w"), "n": 1}
    assert fill(template, {"m": "ties", "w": (1, 2)}) == {
        "merge_method": "ties",
        "models": [{"weight": (1, 2)}, "$5 a day", "a $w"],
        "n": 1,
    }


def test_names_that_do_not_match():
    template = {"models": ({"weight": "$wieght"}, {"weight": "$b"})}
    found = list(find_mismatches(template, {"weight": SPACE.variables["w"], "b": None}))
    assert found == [
        (
            ("merge", "models", 0, "weight"),
            "$wieght is not among the names of `search`; did you mean `weight`?",
        ),
        (("search", "weight"), "has no effect, as the recipe has no $weight"),
    ]
    assert list(find_mismatches({"a": "$w"}, {"w": SPACE.variables["w"]})) == []

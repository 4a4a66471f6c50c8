"""The official score with the organisers' fixtures, others by hand, and the paired test."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from inarch.errors import DataError
from inarch.spans.metric import (
    compare,
    f1,
    micro_character_f1,
    micro_word_f1,
    score,
)
from inarch.spans.read import read_posts

# ----------------------------------------------------------------------- the official character F1


def test_the_organisers_fixtures():
    assert f1([0, 1, 4, 5], [0, 1, 6]) == pytest.approx(0.5714285714285714, abs=1e-15)
    gold = [[1, 2], [3], [], [7]]
    assert score(gold, gold)[:2] == (1.0, 0.0)
    assert score([[], [], [], []], gold)[:2] == (0.25, 0.25)


@pytest.mark.parametrize(
    ("predicted", "gold", "expected"),
    [
        ([], [], 1.0),
        ([0], [], 0.0),
        ([], [0], 0.0),
        ([3, 3, 1], [1, 3], 1.0),  # sets
        ([5, 4], [4, 5, 6, 7], 2 * 2 / 6),
    ],
)
def test_one_post_by_hand(predicted, gold, expected):
    assert f1(predicted, gold) == pytest.approx(expected, abs=1e-15)


def test_a_score_by_hand():
    # Per post 1, 0, 2/3 and 1: mean 2/3; deviations 1/3, -2/3, 0, 1/3, so the variance is
    # (6/9) / 3 = 2/9 and its error sqrt(2/9) / 2.
    found = score([[], [1], [2, 3], [9]], [[], [], [3], [9]])
    assert found == pytest.approx((2 / 3, math.sqrt(2 / 9) / 2, 0.5, (2 / 3 + 1) / 2, 4))


def test_means_over_nothing_are_nan():
    assert math.isnan(score([[1]], [[1]]).standard_error)
    assert math.isnan(score([[1], [2]], [[1], [2]]).f1_empty)
    assert math.isnan(score([[], [1]], [[], []]).f1_nonempty)


POSTS = st.lists(st.sets(st.integers(0, 12)), min_size=2, max_size=8)


@effort(max_examples=60, deadline=None)
@given(data=st.data(), gold=POSTS)
def test_the_score_is_its_parts_in_any_order(data, gold):
    size = {"min_size": len(gold), "max_size": len(gold)}
    predicted = data.draw(st.lists(st.sets(st.integers(0, 12)), **size))
    found = score(predicted, gold)
    num_empty = sum(not row for row in gold)
    parts = [(num_empty, found.f1_empty), (len(gold) - num_empty, found.f1_nonempty)]
    assert found.f1 == pytest.approx(sum(n * mean for n, mean in parts if n) / len(gold))
    order = data.draw(st.permutations(range(len(gold))))
    again = score([predicted[i] for i in order], [gold[i] for i in order])
    assert again == pytest.approx(found, nan_ok=True)
    for p, g in zip(predicted, gold, strict=True):
        assert f1(p, g) == f1(g, p)


# Facts, section 2.1: mean F1 over the posts of what needs no model.
CONSTANTS = {
    "tsd_train.csv": (485 / 7939, 0.209353, 0.224156),
    "tsd_trial.csv": (43 / 690, 0.213558, 0.229105),
    "tsd_test.csv": (394 / 2000, 0.138838, 0.156099),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_of_the_official_files(toxic_spans, name):
    posts = read_posts(toxic_spans / name)
    gold = [post.offsets for post in posts]
    everything = [range(len(post.text)) for post in posts]
    inked = [[i for i, c in enumerate(post.text) if not c.isspace()] for post in posts]
    found = [score(made, gold).f1 for made in ([()] * len(gold), everything, inked)]
    assert found == pytest.approx(CONSTANTS[name], abs=1e-6)


# ------------------------------------------------------------------------------- other scores


def test_micro_f1_by_hand():
    predicted, gold = [[0, 1], [5], []], [[0], [6], [1, 2]]
    assert micro_character_f1(predicted, gold) == pytest.approx(2 * 1 / (3 + 4))
    assert micro_character_f1([[]], [[]]) == 1.0


def test_word_f1_by_hand():
    # Words: you(0) damn(1) fool(2) !(3). Predicted damn and !; gold, from within it, damn and fool.
    assert micro_word_f1(["you damn fool!"], [[4, 13]], [[6, 7, 8, 9]]) == pytest.approx(0.5)


# --------------------------------------------------------------------------------- two systems


def test_the_paired_test_against_all_signs():
    rng = np.random.default_rng(3)
    gold = [[0, 1, 2, 3]] * 10
    a, b = ([list(range(k)) for k in rng.integers(1, 5, 10)] for _ in range(2))
    d = np.array([f1(x, g) - f1(y, g) for x, y, g in zip(a, b, gold, strict=True)])
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=10)]
    exact = np.mean([s >= abs(d.sum()) - 1e-9 for s in sums])
    found = compare(a, b, gold)
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found.difference == pytest.approx(d.mean())
    assert found.standard_error == pytest.approx(np.std(d, ddof=1) / np.sqrt(10))
    assert compare(b, a, gold).difference == -found.difference
    assert compare(b, a, gold).p == pytest.approx(found.p, abs=0.02)
    assert compare(a, b, gold) == found  # the draws are seeded


def test_the_ends_of_p():
    gold = [[i] for i in range(40)]
    assert compare(gold, gold, gold) == (0.0, 0.0, 1.0, 40)
    assert compare(gold, [[]] * 40, gold, num_draws=999).p == 1 / 1000


def test_posts_that_do_not_match_are_refused():
    for made in (lambda: score([[1]], []), lambda: compare([[1]], [[1]], [[1], [2]])):
        with pytest.raises(DataError, match="found 1 and"):
            made()
    with pytest.raises(DataError, match="at least one"):
        score([], [])

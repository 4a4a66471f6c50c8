"""Arena-Hard's labels, in two versions that read the same judgment in two ways."""

import pytest

from inarch.evaluate.arena.verdicts import RULES, Outcome, pair_outcomes

OLD, NEW = RULES["v0.1"], RULES["v2"]


@pytest.mark.parametrize(
    ("judgment", "old", "new"),
    [
        ("My final verdict is tie: [[A=B]]", "A=B", "A=B"),
        ("[[A>>B]] ... so again [[A>>B]]", "A>>B", "A>>B"),
        # the labels that a judge quotes before it decides
        ("either [[A>B]] or [[B>A]]; it is [[B>A]]", None, "B>A"),
        ("[[a>b]]", None, "A>B"),
        ("the verdict: [B>>A]", None, "B>>A"),
        ("the verdict: [b>a]", None, "B>A"),
        ("[A>B] but [[B>A]] and [A=B]", "B>A", "B>A"),
        ("[[A<B]]", "A<B", "A<B"),
        ("[[A>>>B]]", "A>>>B", "A>>>B"),
        ("[[C]] and [[]] and A>B", None, None),
        ("", None, None),
        ("🌱 [[B>A]] 🌱", "B>A", "B>A"),
    ],
)
def test_labels(judgment, old, new):
    assert OLD.parse(judgment) == old
    assert NEW.parse(judgment) == new


@pytest.mark.parametrize(
    ("label", "score", "weight"),
    [("A>>B", 1, 3), ("A>B", 1, 1), ("A=B", 0.5, 1), ("B>A", 0, 1), ("B>>A", 0, 3)],
)
def test_game_1_shows_the_baseline_first_and_game_2_the_model(label, score, weight):
    for rules in (OLD, NEW):
        assert rules.outcomes[label] == Outcome(score, weight)
    assert pair_outcomes(label, None, OLD) == ([Outcome(1 - score, weight)], 1)
    assert pair_outcomes(None, label, OLD) == ([Outcome(score, weight)], 1)


@pytest.mark.parametrize(
    ("label", "same"),
    [("A<<B", "B>>A"), ("A<B", "B>A"), ("B=A", "A=B"), ("B<A", "A>B"), ("B<<A", "A>>B")],
)
def test_labels_written_backwards_count_in_v2_alone(label, same):
    assert NEW.outcomes[label] == NEW.outcomes[same]
    assert label not in OLD.outcomes


@pytest.mark.parametrize("missing", [None, "A>>>B"])
def test_a_missing_verdict_takes_its_pair_along_in_v2_alone(missing):
    assert pair_outcomes("B>A", missing, OLD) == ([Outcome(1, 1)], 1)
    assert pair_outcomes("B>A", missing, NEW) == ([], 2)
    assert pair_outcomes(missing, missing, OLD) == ([], 2)
    both = [Outcome(0, 3), Outcome(0.5, 1)], 0
    assert pair_outcomes("A>>B", "A=B", OLD) == pair_outcomes("A>>B", "A=B", NEW) == both

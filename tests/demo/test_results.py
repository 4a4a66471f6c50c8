"""What the demo says about its numbers, worked out by hand."""

import pytest

from inarch.demo.results import ALL_SKILLS, Row, against_pairs, compare, findings, mean_sd
from inarch.demo.scores import ModelCard, Score
from inarch.demo.world import SKILLS


def _row(label: str, **gain: tuple[float, ...]) -> Row:
    return Row("m", label, {}, {}, {}, gain)


def test_spread_is_over_seeds_with_one_degree_less() -> None:
    # Mean 2; squares 1 + 0 + 1 = 2, over 3 - 1 = 1, root 1.
    assert mean_sd([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_sd([0.4]) == (0.4, 0.0)


def test_a_gain_in_every_seed_is_a_gain_and_a_lost_skill_is_named() -> None:
    row = _row(
        "A",
        fact=(0.06, 0.06, 0.06),
        trans=(0.03, 0.03, 0.06),
        arith=(-0.03, 0.0, 0.0),
        **{ALL_SKILLS: (0.02, 0.03, 0.04)},
    )
    # Mean of 2, 3 and 4 points is 3; of -3, 0 and 0 it is -1.
    assert findings([row]) == (
        "A: better than plain training in every seed (+3.0 on average; +2.0, +3.0, +4.0 points).",
        "A did not help in arith: -1.0 on average; -3.0, +0.0, +0.0.",
    )


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((-0.01, -0.02), "worse than plain training in every seed"),
        ((0.3, -0.01), "no clear difference to plain training, better in 1 of 2 seeds"),
        ((0.3, 0.0), "no clear difference to plain training, better in 1 of 2 seeds"),
        ((0.3,), "one seed, which shows little about the difference to plain training"),
    ],
)
def test_anything_less_is_not_called_a_gain(gains: tuple[float, ...], verdict: str) -> None:
    row = _row("A", **dict.fromkeys((*SKILLS, ALL_SKILLS), gains))
    assert findings([row])[0].startswith(f"A: {verdict} (")


def _card(*piece_fracs: float) -> ModelCard:
    scores = [Score(s, p, p / 2, 4 * p) for s, p in zip(SKILLS, piece_fracs, strict=True)]
    return ModelCard("llama", 1, 1, tuple(scores))


def test_gains_are_paired_by_seed() -> None:
    mine = [_card(0.5, 0.75, 0.25), _card(1.0, 0.5, 0.0)]
    plain = [_card(0.25, 0.75, 0.5), _card(0.5, 0.25, 0.75)]
    row = compare("fusellm-0.5", "A", mine, plain)
    assert row.piece_frac == {
        "fact": (0.5, 1.0), "trans": (0.75, 0.5), "arith": (0.25, 0.0), ALL_SKILLS: (0.5, 0.5)
    }  # fmt: skip
    # All skills: 1.5 / 3 - 1.5 / 3 in the first seed, 1.5 / 3 - 1.5 / 3 in the second.
    assert row.gain == {
        "fact": (0.25, 0.5), "trans": (0.0, 0.25), "arith": (-0.25, -0.75), ALL_SKILLS: (0.0, 0.0)
    }  # fmt: skip
    assert row.exact_frac["arith"] == (0.125, 0.0)
    assert row.bits_per_byte["fact"] == (2.0, 4.0)


@pytest.mark.parametrize("name", ["plain", "target", "facts"])
def test_plain_training_and_what_came_before_it_have_no_gain(name: str) -> None:
    assert compare(name, "A", [_card(1, 1, 1)], [_card(0, 0, 0)]).gain == {}


def test_models_that_were_not_compared_are_not_judged() -> None:
    assert findings([_row("target before")]) == ()


def _whole(model: str, *shares: float) -> Row:
    return Row(model, model, {ALL_SKILLS: shares}, {}, {}, {})


def test_merges_are_held_against_the_mean_of_their_pairs() -> None:
    pairs = [_whole("pair-facts", 0.5, 0.25), _whole("pair-translator", 0.25, 0.25)]
    pairs.append(_whole("pair-reckoner", 0.0, 1.0))
    # Means: .75 / 3 = .25 and 1.5 / 3 = .5.
    *before, merge = against_pairs(
        [_whole("plain", 1.0, 1.0), *pairs, _whole("merge-varm", 0.5, 0.25)]
    )
    assert merge.over_pairs == (0.25, -0.25)
    assert [row.over_pairs for row in before] == [()] * 4


def test_a_merge_is_judged_in_one_sentence() -> None:
    gain = {"fact": (-0.1, -0.1), "trans": (0.5, 0.5), "arith": (0.2, 0.2), ALL_SKILLS: (0.2, 0.2)}
    merge = _row("merged: A", **gain)._replace(over_pairs=(0.03, -0.01))
    assert findings([merge]) == (
        "merged: A: better than plain training in every seed (+20.0 on average; +20.0, +20.0 "
        "points); against the mean of its pairs +1.0 on average; +3.0, -1.0.",
    )

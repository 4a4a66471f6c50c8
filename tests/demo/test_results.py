"""What the demo says about its numbers, worked out by hand."""

import pytest

from inarch.demo.results import ALL_SKILLS, Row, findings, mean_sd
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


def test_models_that_were_not_compared_are_not_judged() -> None:
    assert findings([_row("target before")]) == ()

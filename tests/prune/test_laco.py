"""LaCo: which folds are tried, kept and told, on made-up similarities."""

from itertools import islice
from math import nan

import pytest

from inarch.errors import DataError
from inarch.prune._order import name_of
from inarch.prune.laco import LacoSettings, laco
from tests.prune.made_up import MadeUp


def subject(similarities: dict[tuple[int, ...], float], num_layers: int = 8) -> MadeUp:
    """The similarity depends on the last fold: ``{(into, *layers): similarity}``."""
    return MadeUp(
        num_layers, similarity=lambda folds: similarities.get((folds[-1][0], *folds[-1][1]), 0.0)
    )


def told(steps) -> list[tuple[int, str, int]]:
    return [
        (s.into, ",".join(str(b.layer) for b in s.unit[: len(s.unit) // 2]), s.evaluations)
        for s in steps
    ]


def test_a_sweep_by_hand():
    # 8 layers, runs of 3: the sweep begins at 8 - 3 = 5. 5 takes 6, 7: rejected; 4 takes 5, 6:
    # accepted. 6 layers are left, 0 1 2 3 4 7; two lower, at 2: 2 takes 3, 4; rejected; 1 takes
    # 2, 3: accepted. Left: 0 1 4 7; two lower is below 0.
    made = subject({(4, 5, 6): 0.9, (1, 2, 3): 0.8})
    steps = list(islice(laco(made, LacoSettings(run=3)), 2))
    assert told(steps) == [(4, "5,6", 2), (1, "2,3", 2)]
    assert name_of(steps[0].unit) == "mha5+mha6+mlp5+mlp6"
    assert [s.score for s in steps] == pytest.approx([0.1, 0.2])
    # Each trial comes on top of what was kept.
    assert made.folds == [
        [(5, (6, 7))],
        [(4, (5, 6))],
        [(4, (5, 6)), (2, (3, 4))],
        [(4, (5, 6)), (1, (2, 3))],
    ]


def test_layers_are_counted_among_those_left():
    # After 2 took 3, its place 3 is layer 4.
    made = subject({(6, 7): 0.9, (4, 5): 0.9, (2, 3): 0.9, (0, 1): 0.9})
    settings = LacoSettings(run=2)
    assert told(islice(laco(made, settings), 4)) == [(i, str(i + 1), 1) for i in (6, 4, 2, 0)]
    # A second sweep, with a lower threshold: 0 2 4 6 are left, and 4 may take 6.
    made = subject({(6, 7): 0.9, (4, 5): 0.9, (2, 3): 0.9, (0, 1): 0.9, (4, 6): 0.7})
    assert told(islice(laco(made, settings), 5))[-1] == (4, "6", 1)


def test_the_sweep_goes_back_behind_the_last_layer():
    # Interval 1, runs of 4 in 6 layers: 2 takes 3, 4, 5; one lower would be 1, but 3 layers are
    # left, of which the last run begins below 0; the sweep ends.
    made = subject({(2, 3, 4, 5): 0.9}, num_layers=6)
    next(sweep := laco(made, LacoSettings(run=4, interval=1)))
    assert list(sweep) == []
    assert made.folds == [[(2, (3, 4, 5))]]


def test_bounds_of_the_sweep():
    made = subject({})
    assert list(laco(made, LacoSettings(run=2, lowest=2, highest=5, relax=5.0))) == []
    assert [folds[0] for folds in made.folds] == [(3, (4,)), (2, (3,))]


def test_it_goes_on_from_the_folds_that_are_done():
    similarities = {(4, 5, 6): 0.9, (1, 2, 3): 0.8}
    done = list(islice(laco(subject(similarities), LacoSettings(run=3)), 1))
    made = subject(similarities)
    (step,) = islice(laco(made, LacoSettings(run=3), done), 1)
    assert (step.into, step.unit[0].layer) == (1, 2)
    assert made.folds[0] == [(4, (5, 6)), (3, (4, 7))]


def test_a_similarity_that_is_no_number_is_told():
    with pytest.raises(DataError, match="are no numbers"):
        next(laco(subject({(4, 5, 6, 7): nan}), LacoSettings()))

"""One shot: the first step's losses are the order."""

from math import nan

from inarch.prune._order import name_of
from inarch.prune.one_shot import OneShotSettings, one_shot
from tests.prune.made_up import MadeUp, block, sums


def interacting(gone):
    # Once mha1 is gone, mlp1 costs 9 more: a search step by step takes it last.
    extra = 9.0 if {block("mha1"), block("mlp1")} <= gone else 0.0
    return sums({"mha0": 4, "mlp0": 3, "mha1": 1, "mlp1": 2})(gone) + extra


def test_the_order_is_that_of_single_losses():
    subject = MadeUp(2, interacting)
    steps = list(one_shot(subject, OneShotSettings()))
    assert [name_of(s.unit) for s in steps] == ["mha1", "mlp1", "mlp0", "mha0"]
    assert [(s.score, s.margin, s.evaluations) for s in steps] == [
        (1, 1, 4),
        (2, 1, 0),
        (3, 1, 0),
        (4, None, 0),
    ]
    # All are asked for at once, and all must be known.
    assert [(gone, len(units), top) for gone, units, top in subject.asked] == [(set(), 4, None)]


def test_kinds_protection_done_and_what_is_not_finite():
    subject = MadeUp(3, lambda gone: nan if block("mha0") in gone else sums({"mha2": 1})(gone))
    steps = list(one_shot(subject, OneShotSettings(kinds="mha")))
    assert [name_of(s.unit) for s in steps] == ["mha2", "mha1"]
    rest = one_shot(subject, OneShotSettings(protect=(0, "mlp1")), steps[:1])
    assert [name_of(s.unit) for s in rest] == ["mha1", "mlp2"]

"""SLEB: layers, step by step."""

from inarch.prune._order import name_of
from inarch.prune.sleb import SlebSettings, sleb
from tests.prune.made_up import MadeUp, block, sums


def loss(gone):
    # Layers cost 1, 4, 3, 2, 5; without layer 3, layer 2 costs 4 more.
    costs = {f"{kind}{i}": c / 2 for i, c in enumerate([1, 4, 3, 2, 5]) for kind in ("mha", "mlp")}
    return sums(costs)(gone) + 4.0 * ({block("mlp2"), block("mlp3")} <= gone)


def order(done=(), **settings) -> list[str]:
    return [name_of(step.unit) for step in sleb(MadeUp(5, loss), SlebSettings(**settings), done)]


def test_the_layer_that_is_missed_least_goes_and_the_ends_stay():
    assert order() == ["mha3+mlp3", "mha1+mlp1", "mha2+mlp2"]
    assert order(barrier=False) == [
        "mha0+mlp0",
        "mha3+mlp3",
        "mha1+mlp1",
        "mha4+mlp4",
        "mha2+mlp2",
    ]
    assert order(protect=(2, "mha1")) == ["mha3+mlp3"]


def test_scores_are_losses_without_all_that_is_gone():
    steps = list(sleb(MadeUp(5, loss), SlebSettings()))
    assert [step.score for step in steps] == [2, 6, 13]
    assert [step.margin for step in steps] == [1, 3, None]
    assert order(steps[:1]) == ["mha1+mlp1", "mha2+mlp2"]

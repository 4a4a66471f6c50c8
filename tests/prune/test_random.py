"""Random: an order by lot that depends on the seed alone."""

from inarch.prune._order import name_of
from inarch.prune.random import RandomSettings, random
from tests.prune.made_up import MadeUp, block, stream


def order(seed: int, done=(), num_layers: int = 4, **settings) -> list[str]:
    steps = random(MadeUp(num_layers), RandomSettings(seed=seed, **settings), done)
    return [name_of(step.unit) for step in steps]


def test_every_block_goes_once_and_the_seed_decides_the_order():
    assert sorted(order(0)) == sorted(name_of((b,)) for b in stream(4))
    assert order(0) == order(0) != order(1)


def test_each_place_in_the_order_is_as_likely():
    first = [order(seed, num_layers=2)[0] for seed in range(400)]
    assert all(70 < first.count(name_of((b,))) < 130 for b in stream(2))


def test_layers_protection_and_resumption():
    assert sorted(order(3, unit="layer", protect=(0,))) == ["mha1+mlp1", "mha2+mlp2", "mha3+mlp3"]
    whole = list(random(MadeUp(4), RandomSettings(seed=5)))
    assert order(5, whole[:3]) == [name_of(s.unit) for s in whole[3:]]
    assert block("mha0") not in [
        b for s in random(MadeUp(4), RandomSettings(protect=("mha0",))) for b in s.unit
    ]

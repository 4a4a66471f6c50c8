"""Which units may go."""

import pytest

from inarch.errors import SettingsError
from inarch.prune import _units
from inarch.prune._order import name_of
from tests.prune.made_up import block, stream


def names(units) -> list[str]:
    return [name_of(unit) for unit in units]


def without(num_layers: int, *gone: str):
    return [b for b in stream(num_layers) if b not in [block(name) for name in gone]]


def test_single_blocks_come_in_the_order_of_ties():
    alive = without(3, "mha1")
    assert names(_units.single("mix", ())(alive)) == ["mha0", "mha2", "mlp0", "mlp1", "mlp2"]
    assert names(_units.single("mlp", {block("mlp1")})(alive)) == ["mlp0", "mlp2"]


def test_pairs_are_neighbours_among_the_survivors():
    assert names(_units.paired(())(without(3))) == [
        "mha0+mlp0",
        "mha1+mlp0",
        "mha1+mlp1",
        "mha2+mlp1",
        "mha2+mlp2",
    ]
    # A0 . . M1 A2 M2: M1 is now behind A0.
    assert names(_units.paired(())(without(3, "mlp0", "mha1"))) == [
        "mha0+mlp1",
        "mha2+mlp1",
        "mha2+mlp2",
    ]


def test_pairs_skip_what_stays_and_what_is_of_one_kind():
    assert names(_units.paired({block("mha1")})(without(2))) == ["mha0+mlp0"]
    # A0 A1 M1: two attentions are no pair.
    assert names(_units.paired(())(without(2, "mlp0"))) == ["mha1+mlp1"]


def test_layers_go_whole_or_with_what_is_left_of_them():
    rule = _units.layers({block("mlp2")})
    assert names(rule(without(4, "mha1"))) == ["mha0+mlp0", "mlp1", "mha3+mlp3"]


def test_what_stays_is_named_by_layer_or_block():
    protected = _units.parse_protected((0, -1, "mha1"), stream(4))
    assert name_of(sorted(protected)) == "mha0+mha1+mha3+mlp0+mlp3"


@pytest.mark.parametrize("name", [4, -5, "mha4", "attn1", "", "mha"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(SettingsError, match="names no block of this model"):
        _units.parse_protected((name,), stream(4))

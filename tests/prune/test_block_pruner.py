"""BlockPruner: which units it may take, and in what order, on made-up losses."""

import pytest
from pydantic import ValidationError

from inarch.errors import DataError, SettingsError
from inarch.prune import METHODS
from inarch.prune._order import name_of
from inarch.prune.block_pruner import BlockPrunerSettings, block_pruner
from tests.prune.made_up import MadeUp, block, sums

COSTS = sums({"mha0": 5, "mlp0": 6, "mha1": 2, "mlp1": 3, "mha2": 1, "mlp2": 4})


def order(subject=None, done=(), **settings) -> list[str]:
    subject = subject or MadeUp(3, COSTS)
    return [name_of(s.unit) for s in block_pruner(subject, BlockPrunerSettings(**settings), done)]


def test_blocks_of_the_kinds_asked_for_go():
    assert order() == ["mha2", "mha1", "mlp1", "mlp2", "mha0", "mlp0"]
    assert order(kinds="mha") == ["mha2", "mha1", "mha0"]
    assert order(kinds="mlp") == ["mlp1", "mlp2", "mlp0"]
    assert order(lazy=True) == order()


def test_protected_blocks_stay():
    assert order(protect=(-1, "mlp1")) == ["mha1", "mha0", "mlp0"]
    with pytest.raises(SettingsError, match="names no block"):
        order(protect=(7,))


def test_pairs_leave_whole_layers():
    # A0 5, M0 6, A1 2, M1 3, A2 1, M2 4: M1 + A2 is 4; of A0 M0 A1 M2 then A1 + M2, 6.
    subject = MadeUp(3, COSTS)
    assert order(subject, paired=True) == ["mha2+mlp1", "mha1+mlp2", "mha0+mlp0"]
    assert len(subject.asked[0][1]) == 5
    with pytest.raises(ValidationError, match="kinds: mha is dead"):
        BlockPrunerSettings(paired=True, kinds="mha")


def test_it_goes_on_behind_what_is_done():
    done = list(block_pruner(MadeUp(3, COSTS), BlockPrunerSettings()))[:2]
    subject = MadeUp(3, COSTS)
    assert order(subject, done) == ["mlp1", "mlp2", "mha0", "mlp0"]
    assert subject.asked[0][0] == {block("mha2"), block("mha1")}
    with pytest.raises(DataError, match="which this model does not have"):
        order(MadeUp(2, COSTS), done)


def test_the_table_knows_it():
    method = METHODS["block_pruner"]
    first = next(method.steps(MadeUp(3, COSTS), method.settings()))
    assert name_of(first.unit) == "mha2"

"""Block influence of single blocks."""

import pytest

from inarch.prune._order import name_of
from inarch.prune.block_influence_split import BlockInfluenceSplitSettings, block_influence_split
from tests.prune.made_up import MadeUp

COSINES = {(0, 1): 0.2, (1, 2): 0.9, (2, 3): 0.8, (3, 4): 0.95}


def order(done=(), **settings):
    subject = MadeUp(2, measure=lambda before, after: COSINES[before, after])
    return list(block_influence_split(subject, BlockInfluenceSplitSettings(**settings), done))


def test_each_block_is_measured_across_itself():
    steps = order()
    assert [name_of(s.unit) for s in steps] == ["mlp1", "mlp0", "mha1", "mha0"]
    assert [s.score for s in steps] == pytest.approx([0.05, 0.1, 0.2, 0.8])


def test_kinds_protection_and_resumption():
    assert [name_of(s.unit) for s in order(kinds="mha")] == ["mha1", "mha0"]
    assert [name_of(s.unit) for s in order(protect=("mlp1", 0))] == ["mha1"]
    assert [name_of(s.unit) for s in order(order()[:3])] == ["mha0"]

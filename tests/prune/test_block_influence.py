"""Block influence: layers by how far they turn the stream."""

import pytest
import torch

from inarch.prune._blocks import BlockModel
from inarch.prune._order import name_of
from inarch.prune._score import ModelSubject
from inarch.prune.block_influence import BlockInfluenceSettings, block_influence
from inarch.prune.settings import SearchSettings
from tests.prune.architectures import tiny
from tests.prune.made_up import MadeUp, ragged_rows

COSINES = {(0, 2): 0.5, (2, 4): 0.9, (4, 6): 0.99, (6, 8): 0.9}


def subject() -> MadeUp:
    return MadeUp(4, measure=lambda before, after: COSINES[before, after])


def test_the_layer_that_turns_least_goes_first():
    steps = list(block_influence(subject(), BlockInfluenceSettings()))
    assert [name_of(s.unit)[:4] for s in steps] == ["mha2", "mha1", "mha3", "mha0"]
    assert [s.score for s in steps] == pytest.approx([0.01, 0.1, 0.1, 0.5])
    assert [s.margin for s in steps[:3]] == pytest.approx([0.09, 0, 0.4])


def test_protection_and_resumption():
    steps = list(block_influence(subject(), BlockInfluenceSettings(protect=(-1,))))
    assert [s.unit[0].layer for s in steps] == [2, 1, 0]
    rest = block_influence(subject(), BlockInfluenceSettings(), steps[:2])
    assert [s.unit[0].layer for s in rest] == [3, 0]


def test_on_a_model_it_is_the_formula_over_hidden_states():
    model = BlockModel.of(tiny("llama"))
    rows = ragged_rows()
    found = block_influence(
        ModelSubject(model, rows, SearchSettings(batch_rows=2)), BlockInfluenceSettings()
    )
    hidden = model.states({"input_ids": rows.ids_ST})
    token_ST = torch.arange(12) < torch.tensor([12, 12, 12, 8, 12])[:, None]
    for step in found:
        before, after = (hidden[step.unit[0].layer + i][token_ST].double() for i in (0, 1))
        cosine_N = (before * after).sum(1) / (before.norm(dim=1) * after.norm(dim=1))
        assert step.score == pytest.approx(1 - cosine_N.mean().item(), rel=1e-5)

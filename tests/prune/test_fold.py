"""Later layers folded into an earlier one."""

import copy

import pytest
import torch

from inarch.errors import WeightsError
from inarch.prune._blocks import BlockModel
from inarch.prune._fold import fold, folded, folds_of
from inarch.prune._order import Block, Step
from inarch.prune._score import ModelSubject
from inarch.prune._subject import Fold
from inarch.prune.settings import SearchSettings
from tests.prune.architectures import tiny
from tests.prune.made_up import ragged_rows


def weights(model: BlockModel, layer: int) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.layers[layer].named_parameters()}


def test_folding_is_the_sum_of_differences_or_the_last():
    model = BlockModel.of(tiny("llama"))
    w1, w2, w3 = (weights(model, layer) for layer in (1, 2, 3))
    other = BlockModel.of(copy.deepcopy(model.model))
    fold(model, [Fold(1, (2, 3))])
    fold(other, [Fold(1, (2, 3))], "last")
    for name, now in weights(model, 1).items():
        if "layernorm" in name:
            assert torch.equal(now, w1[name])
            continue
        # w1 + (w2 - w1) + (w3 - w1)
        torch.testing.assert_close(now, w2[name] + w3[name] - w1[name])
        assert torch.equal(weights(other, 1)[name], w3[name])
    assert all(torch.equal(w, w2[name]) for name, w in weights(model, 2).items())


def test_folds_follow_one_another():
    # Layer 3 goes into 2, then what is 2 into 1: w1 + ((w2 + w3 - w2) - w1) = w3.
    model = BlockModel.of(tiny("llama"))
    w3 = weights(model, 3)
    steps = [
        Step((Block("mha", 3), Block("mlp", 3)), 0.1, into=2),
        Step((Block("mha", 0),), 0.1),
        Step((Block("mha", 2), Block("mlp", 2)), 0.1, into=1),
    ]
    assert folds_of(steps) == [Fold(2, (3,)), Fold(1, (2,))]
    fold(model, folds_of(steps))
    name = "mlp.up_proj.weight"
    torch.testing.assert_close(weights(model, 1)[name], w3[name])


def test_the_similarity_is_that_of_a_model_that_was_really_folded():
    model, rows = BlockModel.of(tiny("llama")), ragged_rows()
    before = copy.deepcopy(model.model.state_dict())
    subject = ModelSubject(model, rows, SearchSettings(batch_rows=2))
    found = subject.folded_similarity([Fold(2, (3,)), Fold(0, (1,))], "sum")
    assert all(torch.equal(w, before[name]) for name, w in model.model.state_dict().items())

    smaller = BlockModel.of(copy.deepcopy(model.model))
    fold(smaller, [Fold(2, (3,)), Fold(0, (1,))])
    inner = smaller.model.model
    inner.layers = torch.nn.ModuleList([inner.layers[0], inner.layers[2]])
    cosines = []
    for ids_T, num in zip(rows.ids_ST, (12, 12, 12, 8, 12), strict=True):
        with torch.no_grad():
            a, b = (
                m(ids_T[None, :num], use_cache=False).last_hidden_state.flatten().double()
                for m in (model.model.model, inner)
            )
        cosines.append(float(a @ b / (a.norm() * b.norm())))
    assert found == pytest.approx(sum(cosines) / 5, rel=1e-5)
    assert subject.folded_similarity([], "sum") == pytest.approx(1.0, abs=1e-6)


def test_weights_are_put_back_whatever_happens():
    model = BlockModel.of(tiny("llama"))
    before = weights(model, 1)
    with pytest.raises(KeyError), folded(model, [Fold(1, (2,))], "sum"):
        assert not torch.equal(
            weights(model, 1)["mlp.up_proj.weight"], before["mlp.up_proj.weight"]
        )
        raise KeyError
    assert all(torch.equal(w, before[name]) for name, w in weights(model, 1).items())


def test_layers_of_two_shapes_are_refused():
    # Layer 1 has one dense feed-forward, the others have experts.
    model = BlockModel.of(tiny("qwen2_moe"))
    before = weights(model, 0)
    with pytest.raises(WeightsError, match="layer 0 cannot take in 1"):
        with folded(model, [Fold(0, (1,))], "sum"):
            pass
    assert all(torch.equal(w, before[name]) for name, w in weights(model, 0).items())

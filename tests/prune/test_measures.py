"""The residual stream of real models, and measures by hand."""

import pytest
import torch
from torch import Tensor

from inarch.prune._blocks import BlockModel
from inarch.prune._loss import batches_of
from inarch.prune._measures import angle, cosine, last_hidden, magnitude, stream_of
from inarch.prune._order import Block
from inarch.prune._score import ModelSubject
from inarch.prune.settings import SearchSettings
from tests.prune.architectures import LAYERS, tiny
from tests.prune.made_up import ragged_rows

EVERYWHERE = range(2 * LAYERS + 1)


def test_measures_by_hand():
    # From (1, 0) to (0, 2): a right angle; what was added, (-1, 2), over the sum, 2. From (3, 4)
    # to (-3, -4): opposite; (-6, -8), 10 long, over 5.
    before_ND = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    after_ND = torch.tensor([[0.0, 2.0], [-3.0, -4.0]])
    torch.testing.assert_close(cosine(before_ND, after_ND), torch.tensor([0.0, -1.0]))
    torch.testing.assert_close(angle(before_ND, after_ND), torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(magnitude(before_ND, after_ND), torch.tensor([5**0.5 / 2, 2.0]))
    # Rounding must not push a cosine over 1, where arccos has no value.
    same_ND = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    assert cosine(same_ND, same_ND).max().item() > 1.0
    assert angle(same_ND, same_ND).max().item() < 1e-3


@pytest.mark.parametrize("name", ["llama", "gemma2", "bloom"])
def test_a_layer_adds_attention_then_feed_forward(name: str):
    model = BlockModel.of(tiny(name))
    (batch,) = batches_of(ragged_rows(), 8, model.model.device, slice(None))
    stream = stream_of(model, batch, EVERYWHERE)
    assert sorted(stream) == list(EVERYWHERE)
    with torch.no_grad():
        inputs = model.states(batch.inputs)
        for layer, hidden_BTD in enumerate(inputs):
            assert torch.equal(stream[2 * layer], hidden_BTD)
        for layer in range(LAYERS):
            # What the next layer gets in a whole forward without this feed-forward block.
            with model.without([Block("mlp", layer)]):
                without_mlp = model.states(batch.inputs)
            assert torch.equal(stream[2 * layer + 1], without_mlp[layer + 1])


def test_the_middle_of_a_sequential_layer_is_its_input_and_what_attention_says():
    model = BlockModel.of(tiny("llama"))
    (batch,) = batches_of(ragged_rows(), 8, model.model.device, slice(None))
    stream = stream_of(model, batch, [2, 3])
    with torch.no_grad(), model.recording([Block("mha", 1)]) as outputs:
        model.model(**batch.inputs)
    assert torch.equal(stream[3], stream[2] + outputs[Block("mha", 1)])


def reference(model: BlockModel, measure, before: int, after: int, last: bool) -> float:
    """The mean over the tokens of all rows, one row at a time: 12, 12, 12, 8 and 12 tokens."""
    values: list[Tensor] = []
    for ids_T, num in zip(ragged_rows().ids_ST, (12, 12, 12, 8, 12), strict=True):
        states = model.states({"input_ids": ids_T[None, :num]})
        values.append(measure(states[before][0], states[after][0])[-1 if last else 0 :])
    return torch.cat(values).double().mean().item()


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("measure", [cosine, angle, magnitude])
def test_the_mean_is_over_tokens_not_over_padding(measure, positions):
    model = BlockModel.of(tiny("llama"))
    for devices in ([], ["cpu", "cpu"]):
        subject = ModelSubject(model, ragged_rows(), SearchSettings(batch_rows=2), devices)
        found = subject.contrast([(0, 2), (2, 8)], measure, positions)
        wanted = [reference(model, measure, a, b, positions == "last") for a, b in [(0, 1), (1, 4)]]
        assert found == pytest.approx(wanted, rel=1e-5)


def test_last_hidden_states_are_what_the_head_gets():
    model = BlockModel.of(tiny("llama"))
    (batch,) = batches_of(ragged_rows(), 8, model.model.device, slice(None))
    with torch.no_grad():
        wanted = model.model(**batch.inputs, output_hidden_states=True).hidden_states[-1]
    rows = list(last_hidden(model, batch))
    assert [len(row) for row in rows] == [16 * n for n in (12, 12, 12, 8, 12)]
    assert torch.equal(rows[3], wanted[3, :8].flatten())

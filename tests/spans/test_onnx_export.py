"""ONNX against torch, and the chain in numpy against that in torch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inarch.errors import SettingsError, WeightsError
from inarch.spans.chain import Chain, best_tags, marginals
from inarch.spans.crf import pair_marginals
from inarch.spans.onnx_export import export_onnx
from inarch.spans.onnx_model import OnnxModel
from inarch.spans.tagger import Tagger

from .made_up import KINDS, TEXTS, made
from .test_crf import random_crf, random_emissions
from .test_tagger import assert_same


@pytest.mark.parametrize("num_tags", [2, 3])
def test_the_chain_in_numpy(num_tags):
    crf = random_crf(num_tags)
    lengths = torch.tensor([9, 1, 4, 2])
    emissions = random_emissions(4, 9, num_tags)
    chain = Chain(*(part.detach().numpy() for part in crf.potentials))
    found = marginals(emissions.numpy(), lengths.numpy(), chain)
    tags = best_tags(emissions.numpy(), lengths.numpy(), chain)
    unary, pairs = (p.detach().numpy() for p in pair_marginals(emissions, lengths, crf.potentials))
    best = crf.viterbi(emissions, lengths).numpy()
    for row, length in enumerate(lengths.tolist()):
        np.testing.assert_allclose(found.tags_BTK[row, :length], unary[row, :length], atol=1e-12)
        inside = slice(0, length - 1)
        np.testing.assert_allclose(found.pairs_BTKK[row, inside], pairs[row, inside], atol=1e-12)
        assert tags[row, :length].tolist() == best[row, :length].tolist()


@pytest.mark.parametrize("head", ["crf", "softmax"])
@pytest.mark.parametrize(
    "kind", ["words", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)]
)
def test_onnx_finds_the_same(kind, head, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, coder = made(kind, head=head)
    export_onnx(model, coder, tmp_path)
    ours, theirs = Tagger.from_onnx(tmp_path), Tagger(model, coder)
    for size in (1024 if kind == "words" else 62, 6):
        for tagger in (ours, theirs):
            tagger.coder.max_tokens = size
        assert_same(ours.tag_batch(TEXTS, 3), theirs.tag_batch(TEXTS))
        encoded = [tagger.mark(tagger.coder.encode(TEXTS)) for tagger in (ours, theirs)]
        for a, b in zip(*encoded, strict=True):
            np.testing.assert_allclose(a.probability_T, b.probability_T, atol=1e-5)


def test_special_tokens_and_padding_are_left_out():
    # Padding to the left, as XLNet has it; 7 and 8 are special.
    batch = {
        "input_ids": np.array([[0, 3, 8, 4, 7], [5, 6, 3, 4, 7]]),
        "attention_mask": np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]),
    }
    toxic = np.array([[9.0, -1.0, 9.0, 2.0, 9.0], [1.0, -1.0, -1.0, 1.0, 9.0]])
    model = object.__new__(OnnxModel)
    model.about = {"inputs": ["input_ids"], "special_ids": [7, 8]}
    model._chain = None
    model._session = SimpleNamespace(run=lambda *_: [np.stack([0 * toxic, toxic], 2)])
    tags, logps, pairs = model.mark(batch, pairs=True)
    assert tags.shape == (2, 4)
    assert tags[0, :2].tolist() == [0, 1]
    assert tags[1].tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(np.exp(logps[0, :2, 1]), 1 / (1 + np.exp([1.0, -2.0])))
    assert pairs is None


def test_what_cannot_be_exported_is_told(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(SettingsError, match="aux: none only"):
        export_onnx(*made("words", "onatt"), tmp_path)
    pytest.importorskip("onnxruntime")
    with pytest.raises(WeightsError, match="cannot load"):
        Tagger.from_onnx(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content"),
    [("onnx.json", '{"chain"'), ("onnx.json", "[]"), ("scores.onnx", "cut"), ("scores.onnx", None)],
)
def test_a_broken_export_is_told(tmp_path, name, content):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export_onnx(*made("words"), tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(WeightsError, match="expected what `inarch spans export` wrote"):
        Tagger.from_onnx(tmp_path)

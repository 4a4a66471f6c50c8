"""Beliefs of real (random) models against transformers' own logits."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from inarch.data import Reader, digest, read
from inarch.errors import WeightsError
from inarch.io.models import load_model
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Document, Message
from inarch.teach import TeachSettings
from inarch.teach.capture import capture
from tests.tiny import TEXT, byte_level, save_model, sentencepiece


def document(text: str) -> Document:
    return Document(0, text, None, "", digest(text, None), True)


@pytest.fixture(scope="module", params=["llama", "gpt_neox"])
def model(request, tmp_path_factory):
    """A tiny model whose head is wider than its tokenizer, and how it reads."""
    folder = tmp_path_factory.mktemp(request.param)
    hf = byte_level() if request.param == "llama" else sentencepiece()
    save_model(folder, hf, kind=request.param, extra=7)
    tokenizer = load_tokenizer(str(folder))
    return load_model(str(folder)), Reader(tokenizer, tokenizer), folder


def test_against_dense_logits(model):
    network, reader, folder = model
    documents = [document(t) for t in (*TEXT[:4], "🐈", "x")]
    rows = read(reader, documents)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    for row, made in zip(rows, capture(network, rows, TeachSettings(top_k=5)), strict=True):
        ids = torch.from_numpy(row.ids.astype(np.int64))
        logps = plain(ids[None]).logits[0, :-1].double().log_softmax(-1).detach()
        best = logps.topk(5)
        np.testing.assert_array_equal(made.ids, best.indices)
        np.testing.assert_allclose(made.logps, best.values, atol=1e-5)
        rest = logps.scatter(1, best.indices, -math.inf).logsumexp(-1)
        np.testing.assert_allclose(made.tail, rest, atol=1e-5)
        following = logps.gather(1, ids[1:, None])[:, 0]
        np.testing.assert_allclose(made.next_logps, following, atol=1e-5)
        np.testing.assert_array_equal(made.next_ids, row.ids[1:])
        np.testing.assert_array_equal(made.ends, row.ends[:-1])
        np.testing.assert_array_equal(made.next_ends, row.ends[1:])


def test_a_chat_keeps_its_answers_only(model):
    network, reader, _ = model
    messages = (Message("user", "A cat sat"), Message("assistant", "on the mat"))
    chat = Document(0, None, messages, "", digest(None, messages), True)
    (row,) = read(reader, [chat])
    (made,) = capture(network, [row], TeachSettings())
    assert len(made.ends) == row.supervised.sum() < len(row.ids) - 1
    assert made.next_ids.tolist() == row.ids[1:][row.supervised[:-1]].tolist()


def test_batches_do_not_matter(model):
    network, reader, _ = model
    rows = read(reader, [document(t) for t in TEXT])
    alone = capture(network, rows, TeachSettings(batch_tokens=1))
    together = capture(network, rows, TeachSettings(batch_tokens=10**6))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a.next_logps, b.next_logps, atol=1e-5)
        np.testing.assert_array_equal(a.ends, b.ends)


def test_temperature_softens_the_candidates_but_not_the_cost(model):
    network, reader, _ = model
    rows = read(reader, [document(TEXT[0])])
    (plain,) = capture(network, rows, TeachSettings())
    (soft,) = capture(network, rows, TeachSettings(temperature=2.0))
    np.testing.assert_allclose(plain.next_logps, soft.next_logps, atol=1e-6)
    logits = network(torch.from_numpy(rows[0].ids.astype(np.int64))[None]).logits[0, :-1]
    expected = (logits.double() / 2).log_softmax(-1).topk(10).values.detach()
    np.testing.assert_allclose(soft.logps, expected, atol=1e-5)


def test_nan_is_an_error_that_names_the_row(model):
    network, reader, folder = model
    rows = read(reader, [document("x"), document(TEXT[0])])
    network = load_model(str(folder))
    with torch.no_grad():
        network.get_output_embeddings().weight[3, 0] = math.nan
    with pytest.raises(
        WeightsError, match=r"gives NaN or infinity at row \d of the corpus; expected finite"
    ):
        capture(network, rows, TeachSettings())


def test_a_tokenizer_of_another_model_is_said(model):
    network, reader, _ = model
    (row,) = read(reader, [document("x")])
    row.ids[0] = 5000
    with pytest.raises(WeightsError, match=r"gives id 5000, its embedding has \d+ rows"):
        capture(network, [row], TeachSettings())

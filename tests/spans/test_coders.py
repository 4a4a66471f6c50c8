"""Tokens and batches, against the tokenizer's own."""

import numpy as np
import pytest
import torch

from inarch.spans.coders import PieceCoder

from .made_up import KINDS, TEXTS, made, tokenizer_of


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_the_tokenizer(kind):
    hf = tokenizer_of(kind)
    coder = PieceCoder(hf, 512)
    batch = coder.batch([tokens.ids for tokens in coder.encode(TEXTS)])
    expected = hf(TEXTS, padding=True, return_tensors="pt")
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(batch[name], expected[name]), name
    if kind == "xlnet":
        assert batch["input_ids"][0, -1] == hf.cls_token_id
        assert (batch["token_type_ids"][:, -1] == 2).all()


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
def test_labels_stand_where_their_tokens_do(kind):
    _, coder = made(kind)
    rows = [tokens.ids for tokens in coder.encode(TEXTS)]
    batch = coder.batch(rows, [np.arange(1, len(row) + 1) for row in rows])
    for row, ids, labels in zip(rows, batch["input_ids"], batch["labels"], strict=True):
        assert ids[labels > 0].tolist() == row.tolist()
        assert labels[labels > 0].tolist() == list(range(1, len(row) + 1))


def test_forms_are_there_once():
    _, coder = made("words")
    first, second = coder.encode(["the cat the cat", "A cat"])
    assert first.ids.tolist()[:2] == first.ids.tolist()[2:]
    batch = coder.batch([first.ids, second.ids])
    assert batch["words_U"].shape[0] == 4  # padding, the, cat, A
    assert batch["attention_mask"].tolist() == [[True] * 4, [True, True, False, False]]
    again = coder.vocabulary.table(["the", "cat", "A"]).words_U
    assert batch["words_U"][batch["input_ids"]][1, :2].tolist() == [again[3], again[2]]

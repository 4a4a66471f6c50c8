"""Bits per byte against arithmetic and against a plain Hugging Face loss."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from inarch.errors import DataError
from inarch.evaluate import bits_per_byte
from inarch.records import TokenRow


def _model(vocab_size: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            initializer_range=0.5,
        )
    ).eval()


def _row(ids: list[int], supervised: list[int]) -> TokenRow:
    mask = np.zeros(len(ids), np.bool_)
    mask[supervised] = True
    ids_T = np.array(ids, np.int32)
    return TokenRow(ids_T, np.arange(len(ids), dtype=np.int32), mask, True)


def test_a_uniform_model_needs_the_log_of_its_vocabulary_per_token() -> None:
    model = _model(8)
    torch.nn.init.zeros_(model.lm_head.weight)
    rows = [_row([0, 1, 2, 3], [1, 2]), _row([5, 6], [0])]
    # 3 supervised tokens of log2(8) = 3 bits each, over 6 bytes: 9 / 6.
    assert bits_per_byte(model, rows, 6) == pytest.approx(1.5, abs=1e-6)


def test_equals_the_cross_entropy_of_the_supervised_tokens() -> None:
    model = _model(11)
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    labels = torch.tensor([ids])
    labels[0, :3] = -100  # positions 2.. predict tokens 3..
    loss = model(torch.tensor([ids]), labels=labels).loss.item()
    expected = loss * 5 / math.log(2) / 10
    longer = _row([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7], [])  # pads the batch, supervises nothing
    bits = bits_per_byte(model, [_row(ids, [2, 3, 4, 5, 6]), longer], 10)
    assert bits == pytest.approx(expected, rel=1e-5)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(DataError, match="0 bytes"):
        bits_per_byte(_model(8), [], 0)

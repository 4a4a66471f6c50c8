"""Sizes told before a cut: the published ratios, and the cut that is made then."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from inarch.io.models import new_config
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import cut
from inarch.prune._deci import NARROW
from inarch.prune._order import Block
from inarch.prune._sizes import (
    Sizes,
    Target,
    kept,
    kv_bytes,
    measure,
    reached,
    removed_frac,
    shed_frac,
)
from tests.prune.architectures import tiny
from tests.prune.test_cut import decoded, steps
from tests.prune.test_repack import LISTS, order

LLAMA = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008}
LLAMA |= {"num_hidden_layers": 32, "num_attention_heads": 32}
LARGE = LLAMA | {"hidden_size": 5120, "intermediate_size": 13824}
LARGE |= {"num_hidden_layers": 40, "num_attention_heads": 40}
QWEN = {"model_type": "qwen2", "tie_word_embeddings": False}

PUBLISHED = {
    "llama2-7b": (LLAMA, 32000, 6_738_415_616, [(12, 5, 21.99), (7, 7, 21.02)]),
    "llama2-13b": (LARGE, 32000, 13_015_864_320, [(17, 7, 25.12), (10, 10, 24.37)]),
    "baichuan2-7b": (LLAMA, 125696, 7_505_973_248, [(11, 7, 22.45), (8, 8, 21.57)]),
    "baichuan2-13b": (
        LARGE | {"intermediate_size": 13696},
        125696,
        13_896_668_160,
        [(12, 10, 24.19), (14, 9, 24.19), (10, 10, 22.68)],
    ),
    "qwen1.5-7b": (LLAMA | QWEN, 151936, 7_721_324_544, [(11, 7, 21.83), (8, 8, 20.97)]),
    "qwen1.5-14b": (
        LARGE | {"intermediate_size": 13696, "num_key_value_heads": 40} | QWEN,
        152064,
        14_167_290_880,
        [(16, 8, 23.72), (18, 7, 23.72), (20, 6, 23.72), (10, 10, 22.25)],
    ),
}
"""Config, vocabulary, parameters, and (attentions, feed-forwards, published %) removed."""


def on_meta(config: dict, vocab: int) -> Sizes:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(new_config(config, vocab), dtype=torch.bfloat16)
    return measure(BlockModel.of(model))


@pytest.fixture(scope="module")
def llama() -> Sizes:
    """Llama-2-7B."""
    return on_meta(LLAMA, 32000)


# ------------------------------------------------------------------------------- published figures


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_ratios(name: str):
    config, vocab, total, ratios = PUBLISHED[name]
    sizes = on_meta(config, vocab)
    assert sizes.total == (total, 2 * total)
    for num_mha, num_mlp, percent in ratios:
        removed = [Block("mha", i) for i in range(num_mha)]
        removed += [Block("mlp", i) for i in range(num_mlp)]
        assert round(100 * removed_frac(sizes, removed), 2) == percent


@pytest.mark.parametrize("name", LISTS)
def test_recorded_lists_remove_and_shed_what_was_measured(llama: Sizes, name: str):
    gone = order(LISTS[name])
    shares = {k: round(100 * removed_frac(llama, gone[:k]), 2) for k in (6, 12, 17, 20)}
    assert shares == {6: 5.98, 12: 13.97, 17: 21.99, 20: 27.00}
    shed = {k: round(100 * shed_frac(llama, gone[:k], "plain"), 2) for k in (6, 12, 17, 20)}
    assert shed == {6: 0, 12: 6.01, 17: 15.02, 20: 21.02}
    for k in (6, 12, 17, 20):
        assert shed_frac(llama, gone[:k], "native") == pytest.approx(removed_frac(llama, gone[:k]))


def test_one_block_of_llama_by_hand(llama: Sizes):
    # 4 x 4096^2 and a norm; 3 x 4096 x 11008 and a norm; 2 x 32000 x 4096.
    assert llama.blocks[Block("mha", 3)].parameters == 4 * 4096**2 + 4096
    assert llama.blocks[Block("mlp", 3)].parameters == 3 * 4096 * 11008 + 4096
    assert llama.embeddings.parameters == 2 * 32000 * 4096
    share = (4 * 4096**2 + 4096) / (6_738_415_616 - 2 * 32000 * 4096)
    assert removed_frac(llama, [Block("mha", 3)], embeddings=False) == pytest.approx(share)


def test_kv_cache_of_llama_by_hand(llama: Sizes):
    # Keys and values of 4096 in 2 bytes: 16 KiB per token and layer; a stub is two numbers.
    gone = order(LISTS["ns64"])[:17]  # 12 attentions; 27 layers, 7 of them without attention
    assert kv_bytes(llama, [], "plain") == 32 * 16384
    assert kv_bytes(llama, gone, "plain") == 27 * 16384
    assert kv_bytes(llama, gone, "native") == 20 * 16384 + 7 * 4
    assert kv_bytes(llama, gone, "gguf-safe") == 20 * 16384 + 7 * 4


def test_grouped_heads_and_ties():
    config = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 512}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = on_meta(config | {"tie_word_embeddings": True}, 100)
    assert sizes.kv_bytes == {0: 2 * 2 * 16 * 2, 1: 2 * 2 * 16 * 2}
    assert sizes.embeddings.parameters == 100 * 64
    mha, mlp = 64 * 64 * 2 + 64 * 32 * 2 + 64, 3 * 64 * 512 + 64
    assert sizes.total.parameters == 100 * 64 + 2 * (mha + mlp) + 64


def test_a_norm_of_both_goes_with_the_second(llama: Sizes):
    # GPT-J: one norm of 2 x 16 for both blocks; attention 4 x 16 x 16, feed-forward 2 x 16 x 64
    # with biases of 64 and 16.
    sizes = measure(BlockModel.of(tiny("gptj")))
    one, both = [Block("mha", 1)], [Block("mha", 1), Block("mlp", 1)]
    lost = removed_frac(sizes, one) * sizes.total.parameters
    assert lost == pytest.approx(4 * 16 * 16)
    lost = removed_frac(sizes, both) * sizes.total.parameters
    assert lost == pytest.approx(4 * 16 * 16 + 2 * 16 * 64 + 64 + 16 + 2 * 16)


# ------------------------------------------------------------------- against the cut that is made


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "gptj", "qwen2_moe", "falcon"])
@pytest.mark.parametrize("format", ["plain", "native"])
def test_what_is_told_is_what_is_made(name: str, format: str):
    subject, rng = BlockModel.of(tiny(name)), random.Random(1)
    sizes = measure(subject)
    for num in (1, 3, 5, 6):
        removed = rng.sample(subject.blocks, num)
        parameters = list(cut(subject, steps(removed), format).parameters())
        made = sum(p.numel() for p in parameters), sum(p.numel() * 4 for p in parameters)
        assert kept(sizes, removed, format) == made


def test_what_is_told_of_gguf_safe_is_what_is_made():
    config = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 2 * NARROW}
    config |= {"num_hidden_layers": 4, "num_attention_heads": 4}
    with torch.device("cpu"):
        model = AutoModelForCausalLM.from_config(new_config(config, 60))
    subject, rng = BlockModel.of(model), random.Random(2)
    sizes = measure(subject)
    for num in (1, 2, 3, 4, 5, 6):
        removed = rng.sample(subject.blocks, num)
        new = cut(subject, steps(removed), "gguf-safe")
        assert kept(sizes, removed, "gguf-safe").parameters == new.num_parameters()


@pytest.mark.parametrize("format", ["plain", "native"])
def test_the_kv_cache_told_is_the_one_that_is_kept(format: str):
    subject = BlockModel.of(tiny("qwen3"))
    removed = [Block("mha", 0), Block("mlp", 1), Block("mha", 2)]
    new = cut(subject, steps(removed), format)
    with torch.no_grad():
        cache = new(torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values
    held = sum(t.numel() * 4 for layer in cache.layers for t in (layer.keys, layer.values))
    assert held == 5 * kv_bytes(measure(subject), removed, format)
    assert torch.equal(decoded(new, 2, True), decoded(new, 2, False))


# ------------------------------------------------------------------------------------ when to stop


def test_targets_are_reached_at_the_block_that_reaches_them(llama: Sizes):
    gone = order(LISTS["ns64"])

    def needed(target: Target, format: str = "plain") -> int:
        return next(k for k in range(21) if reached(llama, gone[:k], target, format))

    assert needed(Target("blocks", 8)) == 8
    assert needed(Target("ratio", 0.2198)) == 17
    assert needed(Target("ratio", 0.2200)) == 18
    assert needed(Target("ratio", 0.2250, embeddings=False)) == 17  # 21.99 of 96.1 is 22.88 %
    assert needed(Target("ratio", 0.0897)) == 8
    native = kept(llama, gone[:17], "native").bytes
    assert needed(Target("bytes", native), "native") == 17
    assert needed(Target("bytes", native - 1), "native") == 18
    assert not reached(llama, gone[:17], Target("bytes", native), "plain")
    assert needed(Target("kv_bytes", 24 * 16384 + 100), "native") == 9  # 8 attentions gone
    assert needed(Target("kv_bytes", 31 * 16384), "plain") == 8


def test_the_same_block_twice_counts_once(llama: Sizes):
    twice = [Block("mha", 3), Block("mha", 3)]
    assert not reached(llama, twice, Target("blocks", 2))
    assert removed_frac(llama, twice) == removed_frac(llama, twice[:1])

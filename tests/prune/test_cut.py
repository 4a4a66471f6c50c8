"""Cut models: the masked model's logits bit for bit, in every format, saved and loaded again."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Gemma3Config, PreTrainedModel

from inarch.errors import SettingsError
from inarch.io.models import load_model, quiet_transformers
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import FORMATS, cut, gone
from inarch.prune._layer_config import slot_config
from inarch.prune._order import Block, Step
from inarch.prune._repack import Slot
from tests.prune.architectures import ARCHITECTURES, PARALLEL, VOCAB, tiny

LONE = [Block("mha", 0), Block("mlp", 1), Block("mha", 2), Block("mlp", 3)]
"""Leaves M0, A1 M2 and A3: a pad of each kind, and a pair of two layers."""


def steps(blocks: list[Block], scores: list[float] | None = None) -> list[Step]:
    return [Step((b,), s) for b, s in zip(blocks, scores or [0.5] * len(blocks), strict=True)]


def ids(rows: int = 2, length: int = 12) -> torch.Tensor:
    return torch.randint(1, VOCAB, (rows, length), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model(ids(), use_cache=False).logits


def masked(subject: BlockModel, blocks: list[Block]) -> torch.Tensor:
    with subject.without(blocks):
        return logits(subject.model)


def saved(model: PreTrainedModel, folder) -> PreTrainedModel:
    with quiet_transformers():
        model.save_pretrained(folder)
    return load_model(folder)


@torch.no_grad()
def decoded(model: PreTrainedModel, padding: int, use_cache: bool) -> torch.Tensor:
    """Greedy tokens of two rows, the second with padding on its left."""
    prompt = ids(2, 6)
    mask = torch.ones_like(prompt)
    prompt[1, :padding], mask[1, :padding] = 0, 0
    return model.generate(
        prompt, attention_mask=mask, max_new_tokens=4, do_sample=False, use_cache=use_cache
    )


# ------------------------------------------------------------------------------ every architecture


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_plain_is_the_masked_model_in_its_stock_class(name: str, tmp_path):
    subject = BlockModel.of(tiny(name))
    if name == "gpt2_scaled":
        with pytest.raises(SettingsError, match=r"scaling = 0.25.*would be 0.25|native"):
            cut(subject, steps(LONE))
        return
    expected = masked(subject, LONE)
    new = cut(subject, steps(LONE))
    own = [[None, 0], [1, None], [None, 2], [3, None]]
    pairs = own if name in PARALLEL or subject.parallel else [[None, 0], [1, 2], [3, None]]
    assert new.config.inarch_prune["source_blocks"] == pairs
    assert type(new) is type(subject.model)
    assert torch.equal(logits(new), expected)
    again = saved(new, tmp_path)
    assert type(again) is type(subject.model)
    assert again.config.get_text_config().num_hidden_layers == len(pairs)
    assert torch.equal(logits(again), expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_native_is_the_masked_model_and_generates(name: str, tmp_path):
    subject = BlockModel.of(tiny(name))
    expected = masked(subject, LONE)
    new = cut(subject, steps(LONE), "native")
    again = saved(new, tmp_path)
    assert torch.equal(logits(new), expected)
    assert torch.equal(logits(again), expected)
    lone = sum(1 for b in subject.blocks if b not in LONE for _ in subject.parameters_of(b))
    shared = sum(len(subject.shared_of(i)) for i in range(subject.num_layers))
    layers = [p for p, _ in again.named_parameters() if p.startswith(f"{subject.layers_path}.")]
    assert len(layers) == lone + shared
    for padding in (0, 3):
        assert torch.equal(decoded(again, padding, True), decoded(again, padding, False))


def test_native_leaves_layers_in_place_where_their_index_matters():
    subject = BlockModel.of(tiny("gpt2_scaled"))
    blocks = [Block("mha", 0), Block("mlp", 0), Block("mlp", 1)]
    new = cut(subject, steps(blocks), "native")
    assert torch.equal(logits(new), masked(subject, blocks))
    sources = [[None, None], [1, None], [2, 2], [3, 3]]
    assert new.config.inarch_prune["source_blocks"] == sources


@pytest.mark.parametrize("format", FORMATS)
def test_without_pads_every_format_is_the_stock_class(format: str):
    subject = BlockModel.of(tiny("llama"))
    pair = [Block("mlp", 1), Block("mha", 2)]
    new = cut(subject, steps(pair), format)
    assert type(new) is type(subject.model)
    assert new.config.inarch_prune["format"] == format
    assert torch.equal(logits(new), masked(subject, pair))


@pytest.mark.parametrize("format", ["plain", "native"])
def test_the_text_part_of_a_model_that_sees_is_cut(format: str, tmp_path):
    text = ARCHITECTURES["gemma3"] | {"vocab_size": VOCAB}
    eye = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    eye |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=eye, mm_tokens_per_image=1)
    subject = BlockModel.of(AutoModelForCausalLM.from_config(config))
    again = saved(cut(subject, steps(LONE), format), tmp_path)
    assert torch.equal(logits(again), masked(subject, LONE))
    assert len(again.model.vision_tower.encoder.layers) == 2
    if format == "native":
        skips = [getattr(c, "skip", []) for c in again.config.text_config.per_layer_config]
        assert skips == [["attention"], [], ["mlp"]]


# ------------------------------------------------------------------------------- any removed blocks


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "qwen2_moe", "bloom", "smollm3"])
def test_any_removed_blocks_give_the_masked_model(name: str):
    subject, rng = BlockModel.of(tiny(name)), random.Random(0)
    for _ in range(8):
        blocks = rng.sample(subject.blocks, rng.randint(1, 7))
        expected = masked(subject, blocks)
        for format in ("plain", "native"):
            assert torch.equal(logits(cut(subject, steps(blocks), format)), expected), blocks


def test_half_precision_stays_as_it_is(tmp_path):
    saved(tiny("llama").to(torch.bfloat16), tmp_path / "whole")
    subject = BlockModel.of(load_model(tmp_path / "whole"))
    again = saved(cut(subject, steps(LONE)), tmp_path)
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    assert torch.equal(logits(again), masked(subject, LONE))


def test_no_block_left_is_refused():
    subject = BlockModel.of(tiny("llama"))
    with pytest.raises(SettingsError, match="no block that survives"):
        cut(subject, steps(list(subject.blocks)))


def test_blocks_that_are_not_there_are_refused():
    subject = BlockModel.of(tiny("llama"))
    with pytest.raises(SettingsError, match=r"found mlp4 .* its 4 layers"):
        cut(subject, steps([Block("mha", 1), Block("mlp", 4)]))
    again = BlockModel.of(cut(subject, steps(LONE)))
    with pytest.raises(SettingsError, match=r"found mha0 .* no earlier cut"):
        cut(again, steps([Block("mha", 0), Block("mha", 1)]))


# --------------------------------------------------------------------------- what the config says


def test_lists_by_layer_follow_the_attention():
    # Slots (-, 0), (1, 2), (3, -): the pad is made as layer 0 has it.
    config = cut(BlockModel.of(tiny("gemma2")), steps(LONE)).config
    assert config.layer_types == ["sliding_attention", "full_attention", "full_attention"]
    config = cut(BlockModel.of(tiny("smollm3")), steps(LONE)).config
    assert config.no_rope_layers == [1, 1, 1]
    config = cut(BlockModel.of(tiny("smollm3")), steps([Block("mha", 1), Block("mlp", 0)])).config
    assert config.no_rope_layers == [1, 0, 1]  # A0 M1, A2 M2, A3 M3


def test_dense_layers_among_experts_follow_the_feed_forward():
    # mlp_only_layers [1]: M1 alone is dense, and A0 M1, A2 M2, A3 M3 is what is left.
    blocks = [Block("mha", 1), Block("mlp", 0)]
    subject = BlockModel.of(tiny("qwen2_moe"))
    new = cut(subject, steps(blocks))
    assert new.config.mlp_only_layers == [0]
    assert torch.equal(logits(new), masked(subject, blocks))


def test_a_step_between_experts_becomes_a_list():
    # Every second layer has experts, but 1: 0, 1 and 2 are dense. A0 M1, A2 M2, A3 M3 is left.
    config = tiny("qwen2_moe").config
    config.decoder_sparse_step = 2
    new = slot_config(config, [Slot(0, 1), Slot(2, 2), Slot(3, 3)])
    assert (new.mlp_only_layers, new.decoder_sparse_step) == ([0, 1], 1)
    assert (config.mlp_only_layers, config.decoder_sparse_step) == ([1], 2)


def test_layers_before_a_window_stay_before_it():
    model = tiny("qwen2")
    model.config.max_window_layers = 2
    assert cut(BlockModel.of(model), steps(LONE)).config.max_window_layers == 2
    assert cut(BlockModel.of(model), steps(LONE[:1])).config.max_window_layers == 2
    both = [Block("mha", 0), Block("mlp", 0)]
    assert cut(BlockModel.of(model), steps(both)).config.max_window_layers == 1


def test_the_record_is_saved(tmp_path):
    subject = BlockModel.of(tiny("llama"))
    taken = [Step((Block("mlp", 2), Block("mha", 3)), 1.25), Step((Block("mha", 0),), float("inf"))]
    saved(cut(subject, taken, "native", data_digest="abc"), tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())["inarch_prune"]
    assert record["format"] == "native"
    assert record["data_digest"] == "abc"
    assert record["source_blocks"] == [[None, 0], [1, 1], [2, 3]]
    assert record["removed_blocks"] == [
        {"kind": "mlp", "layer": 2, "score": 1.25},
        {"kind": "mha", "layer": 3, "score": 1.25},
        {"kind": "mha", "layer": 0, "score": None},
    ]


# ------------------------------------------------------------------------------------ cut it again


@pytest.mark.parametrize("first", ["plain", "native"])
@pytest.mark.parametrize("second", ["plain", "native"])
@pytest.mark.parametrize("name", ["llama", "bloom", "gptj", "opt"])
def test_cut_again_is_cut_at_once(name: str, first: str, second: str, tmp_path):
    subject = BlockModel.of(tiny(name))
    before, after = [Block("mha", 0), Block("mlp", 1), Block("mha", 2)], Block("mha", 3)
    half = saved(cut(subject, steps(before), first), tmp_path)
    place = [slot[0] for slot in half.config.inarch_prune["source_blocks"]].index(3)
    assert Block("mha", place) not in gone(half.config)
    new = cut(BlockModel.of(half), steps([Block("mha", place)]), second)
    at_once = cut(subject, steps([*before, after]), second)
    assert torch.equal(logits(new), logits(at_once))
    record, expected = new.config.inarch_prune, at_once.config.inarch_prune
    assert record == expected
    assert {n: p.shape for n, p in new.named_parameters()} == {
        n: p.shape for n, p in at_once.named_parameters()
    }


def test_gone_blocks_move_with_their_layers():
    subject = BlockModel.of(tiny("llama"))
    first, layer = [Block("mha", 2)], [Block("mha", 0), Block("mlp", 0)]
    new = cut(BlockModel.of(cut(subject, steps(first), "native")), steps(layer), "native")
    assert new.config.inarch_prune["source_blocks"] == [[1, 1], [None, 2], [3, 3]]
    assert new.config.inarch_prune["build"]["gone"][0]["layer"] == 1
    assert torch.equal(logits(new), masked(subject, [*first, *layer]))
    assert torch.equal(decoded(new, 3, True), decoded(new, 3, False))


def test_a_record_of_other_layers_is_none():
    # Another tool dropped a layer, and the config's keys went along.
    model = tiny("llama")
    model.config.inarch_prune = {"source_blocks": [[0, None]] * 5, "removed_blocks": ["old"]}
    assert gone(model.config) == set()
    new = cut(BlockModel.of(model), steps([Block("mlp", 3)]))
    assert new.config.inarch_prune["source_blocks"] == [[0, 0], [1, 1], [2, 2], [3, None]]
    assert [block["layer"] for block in new.config.inarch_prune["removed_blocks"]] == [3]


def test_blocks_that_are_gone_are_told():
    subject = BlockModel.of(tiny("llama"))
    assert gone(subject.model.config) == set()
    for format in ("plain", "native"):
        new = cut(subject, steps(LONE), format)
        assert gone(new.config) == {Block("mha", 0), Block("mlp", 2)}


# -------------------------------------------------------------------------------------- the weights


def test_no_weight_is_copied_and_ties_hold(tmp_path):
    subject = BlockModel.of(tiny("gemma2"))
    new = cut(subject, steps(LONE))
    old = {id(parameter) for parameter in subject.model.parameters()}
    fresh = [name for name, parameter in new.named_parameters() if id(parameter) not in old]
    assert fresh
    assert all(".0.self_attn." in n or ".2.mlp." in n or "layernorm" in n for n in fresh)
    assert not any(new.get_parameter(name).any() for name in fresh)
    assert new.lm_head.weight is new.model.embed_tokens.weight
    again = saved(new, tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")


def test_pads_stay_nothing_in_training():
    # All of a pad is zero, so no gradient reaches any of it: what heals is what survived.
    subject = BlockModel.of(tiny("gemma2"))
    new = cut(subject, steps(LONE))
    pads = [p for n, p in new.named_parameters() if ".0.self_attn." in n or ".2.mlp." in n]
    new(ids(), labels=ids()).loss.backward()
    assert pads
    assert not any(p.grad is not None and p.grad.any() for p in pads)
    assert all(p.grad.any() for n, p in new.named_parameters() if ".1." in n)


def test_changed_weights_are_cut_as_they_are():
    # LaCo folds layers into others before it drops them.
    subject = BlockModel.of(tiny("llama"))
    with torch.no_grad():
        for parameter in subject.parameters_of(Block("mha", 1)).values():
            parameter.add_(0.25)
    assert torch.equal(logits(cut(subject, steps(LONE))), masked(subject, LONE))


def test_the_model_itself_is_left_alone():
    model = tiny("gemma2")
    before, config = logits(model), model.config.to_dict()
    for format in ("plain", "native"):
        cut(BlockModel.of(model), steps(LONE), format).generation_config.max_length = 7
    assert model.generation_config.max_length != 7
    assert torch.equal(logits(model), before)
    assert model.config.to_dict() == config
    assert type(AutoModelForCausalLM.from_config(model.config)) is type(model)

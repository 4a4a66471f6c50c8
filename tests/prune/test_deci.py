"""The gguf-safe format, read as llama.cpp's converter and vLLM read it."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, LlamaForCausalLM, PreTrainedModel

from inarch.errors import SettingsError
from inarch.io.models import new_model
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import cut
from inarch.prune._order import Block
from tests.prune.architectures import VOCAB, tiny
from tests.prune.test_cut import LONE, decoded, logits, masked, saved, steps

WIDTH = 512
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
}
LAYER = "model.layers.{}."


def llama(**changes: object) -> PreTrainedModel:
    model = new_model(LLAMA | changes, VOCAB, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Slots (-, 0), (1, 2), (-, 3), (4, -): config.json, tensors and the model loaded again."""
    subject = BlockModel.of(llama(num_hidden_layers=5))
    gone = [Block("mha", 0), Block("mlp", 1), Block("mha", 2), Block("mha", 3), Block("mlp", 4)]
    folder = tmp_path_factory.mktemp("deci")
    again = saved(cut(subject, steps(gone), "gguf-safe"), folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["inarch_prune"]["source_blocks"] == [[None, 0], [1, 2], [None, 3], [4, None]]
    return subject, gone, folder, config, load_file(folder / "model.safetensors"), again


def test_it_is_the_masked_model_and_generates(made):
    subject, gone, *_, again = made
    assert torch.equal(logits(again), masked(subject, gone))
    assert torch.equal(decoded(again, 3, True), decoded(again, 3, False))


def test_llama_cpp_reads_heads_and_widths_that_the_tensors_have(made):
    *_, config, tensors, _ = made
    assert config["architectures"] == ["DeciLMForCausalLM"]
    assert len(config["block_configs"]) == config["num_hidden_layers"]
    for place, block in enumerate(config["block_configs"]):
        attention, ffn = block["attention"], block["ffn"]
        # The converter: no heads where n_heads_in_group is null; widths by this formula.
        has_heads = attention["n_heads_in_group"] is not None
        width = -(-int(2 * ffn["ffn_mult"] * config["hidden_size"] / 3) // 256) * 256
        layer = LAYER.format(place)
        assert has_heads == (f"{layer}self_attn.q_proj.weight" in tensors)
        assert has_heads == (f"{layer}input_layernorm.weight" in tensors)
        assert tensors[f"{layer}mlp.gate_proj.weight"].shape == (width, 16)
        assert tensors[f"{layer}mlp.down_proj.weight"].shape == (16, width)
        assert isinstance(ffn["ffn_mult"], float)
        if has_heads:
            heads = config["num_attention_heads"] // attention["n_heads_in_group"]
            assert tensors[f"{layer}self_attn.k_proj.weight"].shape == (heads * 4, 16)
    widths = [tensors[f"{LAYER.format(i)}mlp.up_proj.weight"].shape[0] for i in range(4)]
    assert widths == [WIDTH, WIDTH, WIDTH, 256]


def test_layer_0_has_attention_and_no_layer_lacks_a_feed_forward(made):
    *_, config, tensors, _ = made
    no_op = [
        (block["attention"]["no_op"], block["ffn"]["no_op"]) for block in config["block_configs"]
    ]
    assert no_op == [(False, False), (False, False), (True, False), (False, False)]
    assert not any(tensors[f"{LAYER.format(0)}self_attn.{n}_proj.weight"].any() for n in "qkvo")
    assert not any(t.any() for name, t in tensors.items() if ".3.mlp." in name)
    assert tensors[f"{LAYER.format(1)}self_attn.o_proj.weight"].any()


def test_every_tensor_has_the_name_of_a_llamas(made):
    subject, *_, tensors, _ = made
    assert tensors.keys() < subject.model.state_dict().keys()
    assert all(tensor.numel() for tensor in tensors.values())


def test_vllm_reads_block_configs_as_attributes(made):
    *_, folder, _, _, _ = made
    config = AutoConfig.from_pretrained(folder)
    assert [block.attention.no_op for block in config.block_configs] == [False, False, True, False]
    assert config.block_configs[1].attention.n_heads_in_group == 4
    assert not hasattr(config.block_configs[1].ffn, "intermediate_size")  # it reads ffn_mult then
    assert config.intermediate_size == WIDTH


def test_a_stock_llama_refuses_it(made):
    *_, folder, _, _, _ = made
    with pytest.raises(Exception, match="intermediate_size"):
        LlamaForCausalLM.from_pretrained(folder)


def test_saved_again_it_is_the_same(made, tmp_path):
    _, _, folder, _, _, again = made
    saved(again, tmp_path)
    for name in ("config.json", "model.safetensors", "modeling_inarch_pruned.py"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("second", ["plain", "native", "gguf-safe"])
def test_cut_again_in_any_format(made, second: str):
    subject, gone, *_, again = made
    new = cut(BlockModel.of(again), steps([Block("mlp", 0)]), second)
    at_once = cut(subject, steps([*gone, Block("mlp", 0)]), second)
    assert torch.equal(logits(new), logits(at_once))
    assert new.config.inarch_prune == at_once.config.inarch_prune
    assert new.num_parameters() == at_once.num_parameters()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: tiny("gemma2"), "model type gemma2"),
        (lambda: tiny("gpt_neox"), "model type gpt_neox"),
        (lambda: tiny("mistral_sliding"), "sliding window of 4"),
        (lambda: tiny("llama"), "intermediate_size 24, no multiple of 256"),
        (lambda: llama(attention_bias=True), "biases"),
        (lambda: llama(hidden_act="gelu"), "activation gelu"),
        (lambda: llama(head_dim=8), "heads of 8"),
    ],
)
def test_what_is_unlike_llama_is_refused(model, reason: str):
    with pytest.raises(SettingsError, match=reason):
        cut(BlockModel.of(model()), steps(LONE), "gguf-safe")

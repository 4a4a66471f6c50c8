"""The model type of native cuts: it loads with inarch or with trust, and else not at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, MixtralForCausalLM
from transformers.cache_utils import StaticCache

import inarch.io.modeling_inarch_pruned as modeling
from inarch.io.models import load_model, quiet_transformers
from inarch.prune._blocks import BlockModel
from inarch.prune._cut import cut
from inarch.prune._order import Block
from inarch.prune._sizes import kept, measure
from tests.prune.architectures import tiny
from tests.prune.test_cut import LONE, ids, logits, masked, saved, steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A native cut of a Llama without M1 and the attentions of layers 0 and 2."""
    path = tmp_path_factory.mktemp("native")
    saved(cut(BlockModel.of(tiny("llama")), steps(LONE), "native"), path)
    return path


def child(code: str, folder: Path) -> dict:
    """What a fresh process prints last, as JSON."""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


# --------------------------------------------------------------------------------------- loading


def test_the_file_runs_under_trust_and_import_inarch_makes_trust_needless(folder: Path):
    code = """if True:
        import json, sys, torch
        from transformers import AutoModelForCausalLM, AutoConfig
        refused = []
        for load in (AutoConfig, AutoModelForCausalLM):
            try:
                load.from_pretrained(sys.argv[1], trust_remote_code=False)
            except ValueError as error:
                refused.append("custom code" in str(error))
        torch.set_num_threads(1)
        ids = torch.arange(1, 13)[None]
        trusted, report = AutoModelForCausalLM.from_pretrained(
            sys.argv[1], trust_remote_code=True, output_loading_info=True)
        has_inarch = "inarch" in sys.modules
        empty = AutoModelForCausalLM.from_config(trusted.config, trust_remote_code=True)
        import inarch
        known = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=False)
        with torch.no_grad():
            logits = [model(ids).logits for model in (trusted, known)]
        print(json.dumps({
            "refused": refused, "has_inarch": has_inarch, "equal": torch.equal(*logits),
            "modules": [type(model).__module__ for model in (trusted, known)],
            "logits": logits[0].tolist(),
            "params": [model.num_parameters() for model in (trusted, empty)],
            "wrong": [list(report[k]) for k in ("missing_keys", "unexpected_keys")],
        }))
    """
    found = child(code, folder)
    assert found["refused"] == [True, True]
    assert not found["has_inarch"]
    assert found["equal"]
    assert found["modules"][0].startswith("transformers_modules.")
    assert found["modules"][1] == "inarch.io.modeling_inarch_pruned"
    assert found["wrong"] == [[], []]
    assert found["params"][0] == found["params"][1]
    subject = BlockModel.of(tiny("llama"))
    with subject.without(LONE), torch.no_grad():
        expected = subject.model(torch.arange(1, 13)[None]).logits
    assert torch.equal(torch.tensor(found["logits"]), expected)


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_a_stock_class_stops_and_fills_nothing_with_random_numbers(name: str, tmp_path):
    saved(cut(BlockModel.of(tiny(name)), steps(LONE), "native"), tmp_path)
    stock = {"llama": LlamaForCausalLM, "mixtral": MixtralForCausalLM}[name]
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        stock.from_pretrained(tmp_path)


def test_the_class_of_the_file_can_be_called_by_name(folder: Path):
    model = modeling.PrunedForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.equal(logits(model), logits(load_model(folder)))


def test_a_config_that_does_not_say_what_it_is_of_is_refused():
    with pytest.raises(ValueError, match="base_model_type None"):
        modeling.PrunedConfig.from_dict({"model_type": "inarch_pruned"})
    with pytest.raises(ValueError, match="no causal LM of type 'vit'"):
        modeling.classes("vit")


# ------------------------------------------------------------------------------------ what is saved


def test_the_config_carries_the_schema_of_skip_and_keeps_it(folder: Path):
    config = AutoConfig.from_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["per_layer_config"] == {
        "0": {"skip": ["attention"]},
        "2": {"skip": ["mlp"]},
    }
    skips = [getattr(layer, "skip", []) for layer in config.per_layer_config]
    assert skips == [["attention"], [], ["mlp"]]


def test_a_layer_without_either_skips_both():
    model = tiny("gpt2_scaled")
    new = cut(BlockModel.of(model), steps([Block("mlp", 1), Block("mha", 1)]), "native")
    assert new.config.per_layer_config[1].skip == ["attention", "mlp"]


def test_the_file_holds_what_survived_and_one_empty_guard(folder: Path):
    subject = BlockModel.of(tiny("llama"))
    tensors = load_file(folder / "model.safetensors")
    empty = [name for name, tensor in tensors.items() if tensor.numel() == 0]
    assert empty == ["model.layers.0.input_layernorm.weight"]
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert held == kept(measure(subject), LONE, "native").bytes


def test_saved_again_it_is_the_same(folder: Path, tmp_path):
    saved(load_model(folder), tmp_path)
    for name in ("config.json", "model.safetensors", "modeling_inarch_pruned.py"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    own = Path(modeling.__file__).read_bytes()
    assert (folder / "modeling_inarch_pruned.py").read_bytes() == own


def test_tensors_keep_the_names_of_the_stock_checkpoint(tmp_path):
    # Experts are one tensor in memory and one file entry each on disk, as Mixtral has it.
    subject = BlockModel.of(tiny("mixtral"))
    saved(subject.model, tmp_path / "stock")
    saved(cut(subject, steps([Block("mha", 3)]), "native"), tmp_path / "native")
    names = [load_file(tmp_path / kind / "model.safetensors") for kind in ("stock", "native")]
    assert names[1].keys() < names[0].keys()
    assert any("block_sparse_moe.experts.0.w1" in name for name in names[1])


# ---------------------------------------------------------------------------------------- at work


def test_experts_are_computed_as_in_the_stock_class(monkeypatch):
    # Whether they can be is read from the file of the class, and kept with its base.
    kept_answer = "_can_set_experts_implementation_cached_value"
    monkeypatch.delattr(MixtralForCausalLM, kept_answer, raising=False)
    _, model_class = modeling.classes.__wrapped__("mixtral")
    assert model_class._can_set_experts_implementation()


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "gpt_neox", "bloom"])
def test_static_caches_and_beams_equal_the_uncached_run(name: str):
    new = cut(BlockModel.of(tiny(name)), steps(LONE), "native")
    prompt = ids(2, 6)
    mask = torch.ones_like(prompt)
    prompt[1, :2], mask[1, :2] = 0, 0
    options = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False}
    plain = new.generate(prompt, **options, use_cache=False)
    if new._can_compile_fullgraph:
        cache = StaticCache(config=new.config, max_cache_len=16)
        assert torch.equal(new.generate(prompt, **options, past_key_values=cache), plain)
    beams = {"num_beams": 3}
    expected = new.generate(prompt, **options, **beams, use_cache=False)
    assert torch.equal(new.generate(prompt, **options, **beams), expected)


def test_layers_without_attention_keep_one_number_a_token():
    new = cut(BlockModel.of(tiny("llama")), steps(LONE), "native")
    with torch.no_grad():
        cache = new(ids(), use_cache=True).past_key_values
    assert [tuple(layer.keys.shape) for layer in cache.layers] == [
        (2, 1, 12, 1),
        (2, 2, 12, 4),
        (2, 2, 12, 4),
    ]


def test_lora_trains_what_survived_and_merges(folder: Path):
    settings = LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
    with quiet_transformers():
        model = get_peft_model(load_model(folder), settings)
    names = [name for name, p in model.named_parameters() if "lora_A" in name]
    layers = sorted({(name.split("layers.")[1][0], name.split(".")[-4]) for name in names})
    assert layers == [("1", "q_proj"), ("1", "v_proj"), ("2", "q_proj"), ("2", "v_proj")]
    with torch.no_grad():
        before = model.eval()(ids()).logits
        after = model.merge_and_unload()(ids()).logits
    assert torch.allclose(before, after, atol=1e-4)


def test_gradients_are_those_of_the_masked_model():
    subject = BlockModel.of(tiny("gemma2"))
    new = cut(subject, steps(LONE), "native")
    with subject.without(LONE):
        subject.model(ids(), labels=ids()).loss.backward()
    expected = {id(p): p.grad.clone() for p in subject.model.parameters() if p.grad is not None}
    subject.model.zero_grad()
    new(ids(), labels=ids()).loss.backward()
    assert new.training is False
    for parameter in new.parameters():
        assert torch.equal(parameter.grad, expected[id(parameter)])


def test_in_half_precision_and_eager_attention(folder: Path):
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager"
    )
    assert model.config._attn_implementation == "eager"
    gap = (logits(model).float() - masked(BlockModel.of(tiny("llama")), LONE)).abs().max()
    assert 0 < gap < 0.5

"""A model with an adapter: beside what PEFT merges, and whatever else a folder may hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoHaConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from inarch.errors import WeightsError
from inarch.io.weights import Checkpoint
from inarch.merge._adapters import CONFIG, WEIGHTS, Adapter
from inarch.merge._sources import FileSource

Q = "model.layers.0.self_attn.q_proj"
KEY = f"base_model.model.{Q}.lora_A.weight"


def llama(tied: bool = False) -> LlamaForCausalLM:
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
    size |= {"intermediate_size": 24, "max_position_embeddings": 16, "attention_bias": True}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**size, tie_word_embeddings=tied))


def gpt2(tied: bool = True) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    specials = {"bos_token_id": None, "eos_token_id": None, "tie_word_embeddings": tied}
    return GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=40, n_positions=16, **specials)
    )


def train(model, folder: Path, **settings: object):
    """Save a model and an adapter with random factors; return what PEFT merges."""
    model.save_pretrained(folder / "base")
    settings = {"init_lora_weights": False, "r": 4, "lora_alpha": 12} | settings
    torch.manual_seed(1)
    wrapped = get_peft_model(model, LoraConfig(**settings))
    with torch.no_grad():  # biases and whole modules are trained as well
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape)
    wrapped.save_pretrained(folder / "lora")
    return wrapped.merge_and_unload()


def applied(folder: Path) -> dict[str, np.ndarray]:
    base = Checkpoint.open(folder / "base")
    tensors = {name: FileSource(base, name) for name in base.tensors}
    adapter = Adapter.open(folder / "lora", "base+lora")
    made = adapter.apply(tensors, base.aliases)
    return {name: read(source) for name, source in made.items()}


def read(source, parts: int = 3) -> np.ndarray:
    """All of a source, read in several parts of whole rows, backwards."""
    out = np.empty(source.shape, np.float32)
    for rows in reversed(np.array_split(np.arange(len(out)), parts)):
        if len(rows):
            flat = out[rows[0] : rows[-1] + 1].reshape(-1)
            assert source.fill(rows[0] * flat.size // len(rows), flat)
    return out


CASES = {
    "attention": (llama, {"target_modules": ["q_proj", "v_proj"]}),
    "all linear": (llama, {"target_modules": "all-linear", "r": 5}),
    "rslora": (llama, {"target_modules": ["up_proj"], "use_rslora": True}),
    "patterns": (
        llama,
        {
            "target_modules": ["q_proj", "v_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 7},
            "alpha_pattern": {"v_proj": 32, r"model.layers.1.*.q_proj": 2},
        },
    ),
    "whole modules": (
        llama,
        {"target_modules": ["k_proj"], "modules_to_save": ["lm_head"]},
    ),
    "biases": (llama, {"target_modules": ["q_proj"], "bias": "all"}),
    "biases of the targets": (llama, {"target_modules": ["q_proj"], "bias": "lora_only"}),
    "embedding": (llama, {"target_modules": ["embed_tokens", "q_proj"]}),
    "head": (llama, {"target_modules": ["lm_head"]}),
    "gpt2": (gpt2, {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "gpt2 embedding": (lambda: gpt2(tied=False), {"target_modules": ["wte"], "lora_alpha": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sum_is_what_peft_merges(tmp_path, case):
    make, settings = CASES[case]
    expected = train(make(), tmp_path, **settings).state_dict()
    made = applied(tmp_path)
    for name, tensor in made.items():
        np.testing.assert_allclose(tensor, expected[name], atol=1e-6, rtol=1e-6, err_msg=name)
    changed = [name for name in made if not np.array_equal(made[name], before(tmp_path)[name])]
    assert changed  # and the other tensors are equal bit by bit
    assert all(np.array_equal(made[n], expected[n]) for n in made if n not in changed)


def before(folder: Path) -> dict[str, np.ndarray]:
    return {name: t.numpy() for name, t in load_file(folder / "base/model.safetensors").items()}


def logits(state: dict[str, np.ndarray], *, tied: bool) -> torch.Tensor:
    model = llama(tied).eval()
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    model.load_state_dict(tensors, strict=False)
    return model(torch.arange(10)[None]).logits


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["lm_head"]},
        {"target_modules": ["embed_tokens"]},
        {"target_modules": ["embed_tokens", "lm_head"]},
        {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj"]},
    ],
)
def test_tied_tensors_are_what_they_were_in_training(tmp_path, settings):
    model = llama(tied=True)
    wrapped = get_peft_model(model, LoraConfig(init_lora_weights=False, r=4, **settings)).eval()
    with torch.no_grad():
        for parameter in (p for p in wrapped.parameters() if p.requires_grad):
            parameter *= 1.01
    expected = wrapped(torch.arange(10)[None]).logits
    wrapped.save_pretrained(tmp_path / "lora")
    llama(tied=True).save_pretrained(tmp_path / "base")
    made = applied(tmp_path)
    both = settings["target_modules"] == ["q_proj"] and "modules_to_save" not in settings
    assert ("lm_head.weight" not in made) == (both or "ensure_weight_tying" in settings)
    got = logits(made, tied="lm_head.weight" not in made)
    np.testing.assert_allclose(got.detach(), expected.detach(), atol=2e-5, rtol=1e-4)


def test_a_tied_head_that_is_brought_whole_is_its_own_tensor(tmp_path):
    expected = train(
        llama(tied=True), tmp_path, target_modules=["q_proj"], modules_to_save=["lm_head"]
    ).state_dict()
    made = applied(tmp_path)
    np.testing.assert_array_equal(made["lm_head.weight"], expected["lm_head.weight"])
    np.testing.assert_array_equal(
        made["model.embed_tokens.weight"], before(tmp_path)["model.embed_tokens.weight"]
    )


def test_a_resized_embedding_replaces_the_models_and_stays_tied(tmp_path):
    model = llama(tied=True)
    model.save_pretrained(tmp_path / "base")
    model.resize_token_embeddings(43)
    train(model, tmp_path / "x", target_modules=["q_proj"])
    (tmp_path / "x/lora").rename(tmp_path / "lora")
    tensors = load_file(tmp_path / "lora" / WEIGHTS)
    whole = model.get_input_embeddings().weight.detach().clone()
    tensors["base_model.model.model.embed_tokens.weight"] = whole
    tensors["base_model.model.lm_head.weight"] = whole.clone()
    save_file(tensors, tmp_path / "lora" / WEIGHTS)
    made = applied(tmp_path)
    assert made["model.embed_tokens.weight"].shape == (43, 16)
    assert "lm_head.weight" not in made


def test_names_may_lack_the_prefix_of_the_model(tmp_path):
    # The hub's GPT-2 was saved without its head: h.0.attn.c_attn.weight.
    expected = train(gpt2(), tmp_path, target_modules=["c_attn"], fan_in_fan_out=True).state_dict()
    file = tmp_path / "base/model.safetensors"
    short = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(short, file)
    made = applied(tmp_path)
    name = "h.1.attn.c_attn.weight"
    np.testing.assert_allclose(made[name], expected[f"transformer.{name}"], atol=1e-6)


def test_the_head_of_gpt_neox_has_another_name_in_the_file(tmp_path):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 40}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**size, intermediate_size=24))
    expected = train(model, tmp_path, target_modules=["lm_head"]).state_dict()
    made = applied(tmp_path)["embed_out.weight"]
    np.testing.assert_allclose(made, expected["lm_head.weight"], atol=1e-6)


def test_factors_come_back_after_they_were_let_go(tmp_path):
    train(llama(), tmp_path, target_modules=["q_proj"])
    base = Checkpoint.open(tmp_path / "base")
    tensors = {name: FileSource(base, name) for name in base.tensors}
    source = Adapter.open(tmp_path / "lora", "x").apply(tensors, {})[f"{Q}.weight"]
    first = read(source)
    source.prefetch()
    source.release()
    np.testing.assert_array_equal(read(source), first)
    assert source.raw() is None
    assert (source.label, source.shape, source.dtype) == (str(tmp_path / "base"), (16, 16), "F32")


def test_fingerprints_tell_adapters_apart(tmp_path):
    prints = set()
    for number, settings in enumerate(({}, {"lora_alpha": 3}, {"r": 2})):
        train(llama(), tmp_path / str(number), target_modules=["q_proj"], **settings)
        prints.add(Adapter.open(tmp_path / str(number) / "lora", "x").fingerprint())
    assert len(prints) == 3


# -------------------------------------------------------------------------------------- bad input


@pytest.fixture
def trained(tmp_path):
    train(llama(), tmp_path, target_modules=["q_proj"])
    return tmp_path


def set_config(folder: Path, **keys: object) -> None:
    path = folder / "lora" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"use_dora": True}, "has use_dora: True; expected plain LoRA"),
        ({"peft_type": "LOHA"}, "has peft_type LOHA"),
        ({"peft_type": "IA3"}, "has peft_type IA3"),
        ({"lora_bias": True}, "has lora_bias: True"),
        ({"layer_replication": [[0, 2]]}, "has layer_replication"),
        ({"trainable_token_indices": [3]}, "has trainable_token_indices"),
        (
            {"init_lora_weights": "pissa"},
            "'pissa', which began with another",
        ),
        ({"init_lora_weights": "olora"}, "has init_lora_weights: 'olora'"),
        ({"next_years_trick": {"x": 1}}, "has next_years_trick"),
        ({"lora_alpha": None}, "has r: 4 and lora_alpha: None"),
        ({"r": 8}, "has the rank 4 in A, 4 in B and 8 in adapter_config.json"),
        ({"rank_pattern": {"q_proj": 2}}, "rank 4 in A, 4 in B and 2"),
        ({"rank_pattern": {"q_proj[": 4}}, "is no regular expression"),
    ],
)
def test_what_is_more_than_a_low_rank_sum_is_refused_by_name(trained, keys, words):
    set_config(trained, **keys)
    with pytest.raises(WeightsError, match=words):
        applied(trained)


def test_other_kinds_that_peft_writes_are_refused(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "base")
    get_peft_model(model, LoHaConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "lora")
    with pytest.raises(WeightsError, match="has peft_type LOHA"):
        applied(tmp_path)
    train(llama(), tmp_path / "d", target_modules=["q_proj"], use_dora=True)
    with pytest.raises(WeightsError, match="has use_dora"):
        applied(tmp_path / "d")
    set_config(tmp_path / "d", use_dora=False)
    with pytest.raises(WeightsError, match="lora_magnitude_vector in the adapter, expected pairs"):
        applied(tmp_path / "d")


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Put tensors into an adapter, or take them out."""
    file = folder / "lora" / WEIGHTS
    made = load_file(file) | tensors
    save_file({name: tensor for name, tensor in made.items() if tensor is not None}, file)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({KEY: None}, rf"only lora_B of {Q}; expected A and B"),
        ({KEY: torch.zeros(3, 16)}, "rank 3 in A, 4 in B and 4"),
        (
            {KEY: torch.zeros(4, 17)},
            r"the shape \[16, 17\], and the model's is \[16, 16\]",
        ),
        ({KEY: torch.zeros(4, 16, 1)}, "is made for the shape"),
        ({KEY.replace("lora_A", "lora_C"): torch.zeros(2)}, "expected pairs of lora_A and lora_B"),
        ({"q_proj.lora_A.weight": torch.zeros(2)}, "expected pairs"),
        (
            {"model.norm.weight": torch.zeros(16)},
            "found model.norm.weight in the adapter",
        ),
        ({"base_model.model.model.norm.weight": torch.zeros(17)}, r"the shape \[17\]"),
        (
            {"base_model.model.score.weight": torch.zeros(2)},
            "score.weight, which the model",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(trained, tensors, words):
    change(trained, **tensors)
    with pytest.raises(WeightsError, match=words):
        applied(trained)


def test_an_adapter_for_another_architecture(trained, tmp_path):
    gpt2().save_pretrained(trained / "base")
    with pytest.raises(WeightsError, match=r"is about model.layers.*, which the model lacks"):
        applied(trained)


def test_numbers_that_are_none_are_found_when_they_are_read(trained):
    change(trained, **{KEY: torch.full((4, 16), float("nan"))})
    with pytest.raises(WeightsError, match=r"lora_A.weight of the adapter holds NaN or infinity"):
        applied(trained)


def test_a_file_that_is_cut_off(trained):
    file = trained / "lora" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(WeightsError, match="cut off"):
        applied(trained)


def test_pickles_are_refused_with_the_command_that_converts_them(trained):
    file = trained / "lora" / WEIGHTS
    torch.save(load_file(file), file.with_suffix(".bin"))
    expected = applied(trained)
    file.unlink()
    with pytest.raises(WeightsError, match="as a pickle") as raised:
        applied(trained)
    import shlex
    import subprocess
    import sys

    command = shlex.split(str(raised.value).splitlines()[-1])
    subprocess.run([sys.executable, *command[1:]], check=True)
    np.testing.assert_array_equal(applied(trained)[f"{Q}.weight"], expected[f"{Q}.weight"])


def test_folders_that_hold_no_adapter(tmp_path, trained):
    with pytest.raises(WeightsError, match=r"has no adapter_config.json"):
        Adapter.open(tmp_path / "base", "base+base")
    (trained / "lora" / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match=r"has no adapter_model.safetensors"):
        Adapter.open(trained / "lora", "x")

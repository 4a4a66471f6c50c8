"""Whole merges of models whose tokenizers differ, or that carry adapters."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import AddedToken
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
)

from inarch.errors import SettingsError
from inarch.flows import merge
from inarch.merge import METHODS, load_config
from tests.tiny import CHATML, PLAIN, byte_level, save_model, sentencepiece

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """``a`` and ``b`` are GPT-2's kind, ``b`` with more tokens; ``s`` is Llama's kind, padded."""
    root = tmp_path_factory.mktemp("models")
    a, b, s = byte_level(300), byte_level(320), sentencepiece(380)
    b.add_tokens([AddedToken("<tool>", special=True, normalized=False), "你好", "😀👩‍👩‍👧"])
    b.chat_template = PLAIN
    for seed, (name, hf, extra) in enumerate((("a", a, 0), ("b", b, 0), ("s", s, 7))):
        save_model(root / name, hf, seed=seed, extra=extra)
        path = root / name / "config.json"
        ids = {"bos_token_id": hf.bos_token_id, "eos_token_id": hf.eos_token_id}
        path.write_text(json.dumps(json.loads(path.read_text()) | ids))
        ends = [hf.eos_token_id, 5 + seed]
        GenerationConfig(eos_token_id=ends, max_length=seed + 20).save_pretrained(root / name)
    return root


def content(models: Path, names: str, method: str = "linear", **keys: object) -> dict[str, object]:
    entries = [
        {"model": str(models / name), "parameters": {"weight": 0.25 + number}}
        for number, name in enumerate(names)
    ]
    return {"merge_method": method, "models": entries, "dtype": "float32", **keys}


def merged(folder: Path, recipe: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, allow_unicode=True))
    return merge.run(load_config(path, METHODS), folder / "out")


def loaded(folder: Path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    return model, AutoTokenizer.from_pretrained(folder)


CASES = {
    "union": ("ab", "linear", {"tokenizer_source": "union", "base_model": "a"}),
    "union of two kinds": ("sb", "linear", {"tokenizer_source": "union", "base_model": "s"}),
    "base": ("as", "task_arithmetic", {"tokenizer_source": "base", "base_model": "b"}),
    "a model": ("as", "linear", {"tokenizer_source": "s", "base_model": "a"}),
    "rules": (
        "ab",
        "ties",
        {
            "base_model": "a",
            "tokenizer": {
                "source": "union",
                "pad_to_multiple_of": 64,
                "tokens": {
                    "<tool>": {"source": "b", "force": True},
                    "😀👩‍👩‍👧": {"source": {"kind": "zero"}},
                    "<new>": {"source": {"kind": "model_token", "model": "b", "token": "你好"}},
                },
            },
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_parity_with_mergekit(models, tmp_path, case):
    pytest.importorskip("mergekit")
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    names, method, keys = CASES[case]
    recipe = json.dumps(content(models, names, method, **keys), ensure_ascii=False)
    for name in "abs":
        recipe = recipe.replace(f'"{name}"', json.dumps(str(models / name)))
    recipe = json.loads(recipe)
    out = merged(tmp_path, recipe)
    model, hf = loaded(out)
    run_merge(
        MergeConfiguration.model_validate(recipe), str(tmp_path / "mk"), MergeOptions(quiet=True)
    )
    theirs, other = loaded(tmp_path / "mk")
    assert hf.get_vocab().keys() == other.get_vocab().keys()
    ours_by_id = sorted(hf.get_vocab().items(), key=lambda item: item[1])
    rows = [other.get_vocab()[token] for token, _ in ours_by_id]
    ids = [index for _, index in ours_by_id]
    state, expected = model.state_dict(), theirs.state_dict()
    for name, tensor in state.items():
        if name in (EMBED, HEAD):
            assert len(tensor) == len(expected[name]) == model.config.vocab_size
            pairs = (tensor[ids], expected[name][rows])
        else:
            pairs = (tensor, expected[name])
        torch.testing.assert_close(*pairs, rtol=3e-7, atol=2e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_what_stands_beside_the_weights(models, tmp_path):
    recipe = content(models, "ab", tokenizer_source="union", base_model=str(models / "a"))
    model, hf = loaded(merged(tmp_path, recipe))
    assert hf.chat_template == CHATML
    assert model.config.vocab_size == len(hf) == 323
    assert model.get_output_embeddings().weight.shape == (323, 16)
    assert model.generation_config.eos_token_id == [hf.eos_token_id, 5]
    assert not model.config.tie_word_embeddings
    text = "The quick brown fox <tool> 你好 😀👩‍👩‍👧"
    ids = hf(text)["input_ids"]
    assert {hf.get_vocab()[token] for token in ("<tool>", "你好", "😀👩‍👩‍👧")} <= set(ids)
    assert hf.decode(ids) == text
    before = AutoTokenizer.from_pretrained(models / "a")
    assert hf("The lazy dog")["input_ids"] == before("The lazy dog")["input_ids"]
    assert model(torch.tensor([ids])).logits.isfinite().all()


def test_tied_heads_stay_tied_in_a_union(models, tmp_path):
    for seed, name in enumerate("ab"):
        hf = AutoTokenizer.from_pretrained(models / name)
        size = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16}
        torch.manual_seed(seed)
        ids = {"bos_token_id": None, "eos_token_id": None}
        model = GPT2LMHeadModel(GPT2Config(**size, **ids, vocab_size=len(hf)))
        model.save_pretrained(tmp_path / name)
        hf.save_pretrained(tmp_path / name)
    recipe = content(tmp_path, "ab", tokenizer_source="union", base_model=str(tmp_path / "a"))
    model, hf = loaded(merged(tmp_path, recipe))
    assert model.config.tie_word_embeddings
    assert model.transformer.wte.weight.shape == (len(hf), 8) == (323, 8)
    assert model.lm_head.weight is model.transformer.wte.weight
    weight = AutoModelForCausalLM.from_pretrained(tmp_path / "b").transformer.wte.weight
    tool = AutoTokenizer.from_pretrained(tmp_path / "b").get_vocab()["<tool>"]
    torch.testing.assert_close(
        model.transformer.wte.weight[hf.get_vocab()["<tool>"]], weight[tool], rtol=2e-7, atol=0
    )


def test_the_tokenizer_of_another_model_brings_its_ids_and_its_ways_to_end(models, tmp_path):
    recipe = content(models, "as", base_model=str(models / "a"), tokenizer_source=str(models / "s"))
    model, hf = loaded(merged(tmp_path, recipe))
    config, generation = model.config, model.generation_config
    assert (
        (config.bos_token_id, config.eos_token_id) == (hf.bos_token_id, hf.eos_token_id) == (1, 2)
    )
    assert (generation.eos_token_id, generation.max_length) == ([2, 7], 22)
    assert hf.chat_template == PLAIN
    assert model.config.vocab_size == 380


@pytest.mark.parametrize(("wish", "template"), [("auto", PLAIN), ("{{ 'x' }}", "{{ 'x' }}")])
def test_chat_templates(models, tmp_path, wish, template):
    names = "sab"  # PLAIN, CHATML, PLAIN
    recipe = content(models, names, chat_template=wish, tokenizer_source="union")
    _, hf = loaded(merged(tmp_path, recipe))
    assert hf.chat_template == template


def test_rows_that_differ_need_a_key(models, tmp_path):
    with pytest.raises(SettingsError, match=r"a has 300 rows.*add `tokenizer_source: union`"):
        merged(tmp_path, content(models, "ab"))
    twin = save_model(tmp_path / "twin", byte_level(300), seed=9, extra=20)
    recipe = content(models, "a")
    recipe["models"].append({"model": str(twin), "parameters": {"weight": 1.0}})
    model, hf = loaded(merged(tmp_path, recipe))
    assert model.config.vocab_size == len(hf) == 300
    parts = [AutoModelForCausalLM.from_pretrained(path) for path in (models / "a", twin)]
    first, second = (part.state_dict()[HEAD][:300] for part in parts)
    torch.testing.assert_close(model.state_dict()[HEAD], (0.25 * first + second) / 1.25)


def test_adapters_are_merged_as_models(models, tmp_path):
    for seed, name in enumerate("xy"):
        model = AutoModelForCausalLM.from_pretrained(models / "a")
        torch.manual_seed(seed)
        settings = {"target_modules": "all-linear", "init_lora_weights": False, "r": 4}
        get_peft_model(model, LoraConfig(**settings)).save_pretrained(tmp_path / name)
    recipe = content(models, "a")
    recipe["models"] = [
        {"model": f"{models / 'a'}+{tmp_path / name}", "parameters": {"weight": weight}}
        for name, weight in (("x", 0.5), ("y", 1.5))
    ]
    recipe |= {"merge_method": "task_arithmetic", "base_model": str(models / "a")}
    model, _ = loaded(merged(tmp_path, recipe))
    parts = []
    for name in "xy":
        base = AutoModelForCausalLM.from_pretrained(models / "a")
        whole = PeftModel.from_pretrained(base, tmp_path / name).merge_and_unload()
        parts.append(whole.state_dict())
    base = AutoModelForCausalLM.from_pretrained(models / "a").state_dict()
    for key, tensor in model.state_dict().items():
        expected = base[key] + 0.5 * (parts[0][key] - base[key]) + 1.5 * (parts[1][key] - base[key])
        np.testing.assert_allclose(tensor, expected, atol=2e-6, err_msg=key)
    notes = (tmp_path / "out/README.md").read_text()
    assert "+" in notes

"""Merges of tiny models of many architectures, which transformers must load without a gap."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tests.merge.checkpoints import merged, plan_of

SMALL = {"vocab_size": 24, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3}
DENSE = SMALL | {"intermediate_size": 12, "num_key_value_heads": 2}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", DENSE),
    "Llama, tied": ("LlamaForCausalLM", DENSE | {"tie_word_embeddings": True}),
    "Mistral": ("MistralForCausalLM", DENSE),
    "Qwen2": ("Qwen2ForCausalLM", DENSE),
    "Qwen3": ("Qwen3ForCausalLM", DENSE | {"head_dim": 4}),
    "Gemma": ("GemmaForCausalLM", DENSE | {"head_dim": 4}),
    "Gemma2": ("Gemma2ForCausalLM", DENSE | {"head_dim": 4}),
    "Phi": ("PhiForCausalLM", DENSE),
    "Phi3": ("Phi3ForCausalLM", DENSE | {"pad_token_id": 0}),
    "GPT-NeoX": ("GPTNeoXForCausalLM", SMALL | {"intermediate_size": 12}),
    "GPT-2": ("GPT2LMHeadModel", {"vocab_size": 24, "n_embd": 8, "n_head": 2, "n_layer": 3}),
    "OPT": (
        "OPTForCausalLM",
        SMALL | {"ffn_dim": 12, "word_embed_proj_dim": 8, "max_position_embeddings": 16},
    ),
    "Falcon": ("FalconForCausalLM", SMALL),
    "Mixtral": ("MixtralForCausalLM", DENSE | {"num_local_experts": 3}),
    "BERT": ("BertForMaskedLM", SMALL | {"intermediate_size": 12}),
    "BERT, a classifier": ("BertForSequenceClassification", SMALL | {"intermediate_size": 12}),
    "T5": (
        "T5ForConditionalGeneration",
        {"vocab_size": 24, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 2},
    ),
    "Llava": (
        "LlavaForConditionalGeneration",
        {
            "text_config": {"model_type": "llama", **DENSE},
            "vision_config": {"model_type": "clip_vision_model", **VISION},
            "image_token_index": 3,
        },
    ),
}
SEVERAL = ("T5", "Llava")
"""Models that are several modules."""


def make(folder: Path, kind: str, seed: int) -> Any:
    """Save a random model; return it."""
    name, settings = MODELS[kind]
    cls = getattr(transformers, name)
    torch.manual_seed(seed)
    model = cls(cls.config_class(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.save_pretrained(folder)
    return model


def load(folder: Path, kind: str, tensors: dict[str, np.ndarray], config: dict[str, Any]) -> Any:
    """Save a result and load it; every weight must be there, and none too many."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    made = {name: torch.from_numpy(values) for name, values in tensors.items()}
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    cls = getattr(transformers, MODELS[kind][0])
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_the_mean_of_two(kind, tmp_path):
    a, b = (make(tmp_path / x, kind, seed) for seed, x in enumerate("ab"))
    text = {
        "merge_method": "linear",
        "models": [{"model": str(tmp_path / x)} for x in "ab"],
        "parameters": {"weight": 1},
    }
    made, plan = merged(tmp_path, json.dumps(text))
    found = load(tmp_path / "out", kind, made, plan.config).state_dict()
    expected = {name: (a.state_dict()[name] + b.state_dict()[name]) / 2 for name in found}
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind not in SEVERAL])
def test_a_stack(kind, tmp_path):
    """Layers 0, 1, 1, 2 of one model, the last two from another."""
    a, b = (make(tmp_path / x, kind, seed) for seed, x in enumerate("ab"))
    slices = [("a", [0, 2]), ("b", [1, 3])]
    text = {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [{"model": str(tmp_path / x), "layer_range": layers}]}
            for x, layers in slices
        ],
    }
    made, plan = merged(tmp_path, json.dumps(text))
    model = load(tmp_path / "out", kind, made, plan.config)
    layers, of_a, of_b = (list(stack(one)) for one in (model, a, b))
    assert len(layers) == 4
    for layer, origin in zip(layers, (of_a[0], of_a[1], of_b[1], of_b[2]), strict=True):
        for name, values in origin.state_dict().items():
            torch.testing.assert_close(layer.state_dict()[name], values, rtol=0, atol=0)


def stack(model: Any) -> Any:
    """Return the layers of a model."""
    return max(
        (one for one in model.modules() if isinstance(one, torch.nn.ModuleList)),
        key=lambda found: sum(parameter.numel() for parameter in found.parameters()),
    )


def test_experts_are_no_layers(tmp_path):
    make(tmp_path / "a", "Mixtral", 0)
    text = {
        "merge_method": "passthrough",
        "models": [{"model": str(tmp_path / "a")}],
        "parameters": {"scale": [0, 1]},
    }
    for job in plan_of(tmp_path, json.dumps(text)).jobs:
        if "experts" in job.name:
            layer = int(job.name.split("layers.")[1].split(".")[0])
            assert job.settings.scale == (layer / 2,)

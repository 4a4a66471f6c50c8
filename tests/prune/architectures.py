"""Tiny configs of many decoders: four layers, 60 tokens, random weights."""

from typing import Any

import torch
from transformers import PreTrainedModel

from inarch.io.models import new_model

VOCAB = 60
LAYERS = 4

BASE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GQA = BASE | {"num_key_value_heads": 2}
HEADS = GQA | {"head_dim": 4}
GPT = {"n_embd": 16, "n_layer": LAYERS, "n_head": 4, "n_positions": 64}
ALTERNATING = ["sliding_attention", "full_attention"] * (LAYERS // 2)
EXPERTS = {"moe_intermediate_size": 12, "num_experts": 4, "num_experts_per_tok": 2}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": GQA | {"model_type": "llama"},
    "mistral": GQA | {"model_type": "mistral", "sliding_window": None},
    "mistral_sliding": GQA | {"model_type": "mistral", "sliding_window": 4},
    "qwen2": GQA | {"model_type": "qwen2"},
    "qwen3": HEADS | {"model_type": "qwen3"},
    "gemma": HEADS | {"model_type": "gemma"},
    "gemma2": HEADS | {"model_type": "gemma2", "sliding_window": 4, "layer_types": ALTERNATING},
    "gemma3": HEADS
    | {"model_type": "gemma3_text", "sliding_window": 4, "layer_types": ALTERNATING},
    "phi3": GQA | {"model_type": "phi3", "sliding_window": None},
    "phi": BASE | {"model_type": "phi"},
    "olmo": GQA | {"model_type": "olmo"},
    "olmo2": GQA | {"model_type": "olmo2"},
    "olmo3": GQA | {"model_type": "olmo3", "sliding_window": 4, "layer_types": ALTERNATING},
    "gpt_neox": BASE | {"model_type": "gpt_neox"},
    "gpt_neox_sequential": BASE | {"model_type": "gpt_neox", "use_parallel_residual": False},
    "gpt2": GPT | {"model_type": "gpt2"},
    "gpt2_scaled": GPT | {"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True},
    "gptj": GPT | {"model_type": "gptj", "rotary_dim": 4},
    "gpt_bigcode": GPT | {"model_type": "gpt_bigcode"},
    "opt": {
        "model_type": "opt",
        "hidden_size": 16,
        "ffn_dim": 24,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 8,
        "do_layer_norm_before": True,
    },
    "falcon": BASE | {"model_type": "falcon"},
    "falcon_new": BASE
    | {"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon_sequential": BASE
    | {"model_type": "falcon", "parallel_attn": False, "multi_query": False},
    "falcon_alibi": BASE | {"model_type": "falcon", "alibi": True, "bias": True},
    "bloom": {"model_type": "bloom", "hidden_size": 16, "n_layer": LAYERS, "n_head": 4},
    "mpt": {
        "model_type": "mpt",
        "d_model": 16,
        "n_layers": LAYERS,
        "n_heads": 4,
        "max_seq_len": 64,
    },
    "mixtral": GQA | {"model_type": "mixtral", "num_local_experts": 4, "sliding_window": None},
    "qwen2_moe": GQA
    | EXPERTS
    | {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 12, "mlp_only_layers": [1]},
    "qwen3_moe": HEADS | EXPERTS | {"model_type": "qwen3_moe"},
    "stablelm": GQA | {"model_type": "stablelm"},
    "cohere": GQA | {"model_type": "cohere"},
    "granite": GQA | {"model_type": "granite", "residual_multiplier": 0.5},
    "smollm3": GQA | {"model_type": "smollm3", "no_rope_layers": [1, 1, 0, 1]},
    "starcoder2": GQA | {"model_type": "starcoder2"},
    "glm4": HEADS | {"model_type": "glm4"},
    "exaone4": GQA | {"model_type": "exaone4", "sliding_window": 4, "layer_types": ALTERNATING},
    "nemotron": GQA | {"model_type": "nemotron"},
    "ministral": HEADS
    | {"model_type": "ministral", "sliding_window": 4, "layer_types": ALTERNATING},
    "codegen": GPT | {"model_type": "codegen", "rotary_dim": 4},
    "gpt_oss": HEADS | {"model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2},
    "llama4": HEADS
    | {
        "model_type": "llama4_text",
        "intermediate_size_mlp": 24,
        "num_local_experts": 4,
        "interleave_moe_layer_step": 2,
    },
    "granitemoe": GQA
    | {"model_type": "granitemoe", "num_local_experts": 4, "num_experts_per_tok": 2},
    "biogpt": BASE | {"model_type": "biogpt"},
}
"""Decoders whose blocks can be removed."""

PARALLEL = ("phi", "gpt_neox", "gptj", "falcon", "falcon_new", "falcon_alibi", "codegen", "cohere")
"""Those whose attention and feed-forward read the same input."""

REFUSED: dict[str, dict[str, Any]] = {
    "gemma4": HEADS
    | {
        "model_type": "gemma4_text",
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCAB,
        "num_kv_shared_layers": 0,
        "global_head_dim": 4,
        "sliding_window": 4,
        "layer_types": ALTERNATING,
    },
    "opt_350m": ARCHITECTURES["opt"] | {"do_layer_norm_before": False},
    "bloom_post": ARCHITECTURES["bloom"] | {"apply_residual_connection_post_layernorm": True},
}
"""Decoders that do more in a layer than add two blocks."""


def tiny(name: str, seed: int = 0, scale: float = 10.0) -> PreTrainedModel:
    """Return a model of that name.

    Its weights are larger than fresh ones, so that every block has a say in what comes out, and its
    norms and biases are not all one or nought.
    """
    config = (ARCHITECTURES | REFUSED)[name]
    model = new_model(config | {"eos_token_id": None, "pad_token_id": 0}, VOCAB, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                noise = torch.rand(parameter.shape, generator=generator) - 0.5
                parameter.add_(noise * 0.5)
            else:
                parameter.mul_(scale)
    return model

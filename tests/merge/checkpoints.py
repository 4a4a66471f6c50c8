"""Checkpoints on disk with numbers to recognise, and recipes that merge them in memory."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from inarch.merge import METHODS
from inarch.merge._models import open_models
from inarch.merge._outline import load_config, refs_of
from inarch.merge._plan import Plan, make_plan
from inarch.merge._stack import ArrayStack

WIDTH, INNER, ROWS = 8, 12, 16
EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"

Fill = float | Callable[[str], float] | np.random.Generator
"""The number in all elements, one for each tensor, or a generator for random ones."""


def llama_shapes(layers: int = 4, tied: bool = False) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {EMBED: (ROWS, WIDTH), NORM: (WIDTH,)}
    if not tied:
        shapes[HEAD] = (ROWS, WIDTH)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{x}_proj.weight": (WIDTH, WIDTH) for x in "qkvo"}
        shapes |= {f"{at}.mlp.{x}_proj.weight": (INNER, WIDTH) for x in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (WIDTH, INNER)
        shapes |= {f"{at}.{x}_layernorm.weight": (WIDTH,) for x in ("input", "post_attention")}
    return shapes


def save(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
    fill: Fill = 1.0,
    dtype: torch.dtype = torch.float32,
) -> str:
    """Save tensors of these shapes with a config; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    tensors = {name: _full(name, shape, fill).to(dtype) for name, shape in shapes.items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return str(folder)


def _full(name: str, shape: tuple[int, ...], fill: Fill) -> torch.Tensor:
    if isinstance(fill, np.random.Generator):
        return torch.from_numpy(fill.normal(size=shape).astype(np.float32))
    return torch.full(shape, float(fill(name) if callable(fill) else fill))


def llama(
    folder: Path,
    fill: Fill = 1.0,
    layers: int = 4,
    *,
    tied: bool = False,
    change: Mapping[str, tuple[int, ...] | None] | None = None,
    **config: Any,
) -> str:
    """Save a Llama; return its folder.

    Args:
        folder: Where to.
        fill: What is in it.
        layers: How many.
        tied: Store no head.
        change: Tensors that are there besides, or with another shape; None leaves one out.
        config: Keys of config.json; ``dtype``, a torch type, is that of the tensors.
    """
    dtype = config.pop("dtype", torch.float32)
    settings = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": ROWS,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
    }
    shapes = {**llama_shapes(layers, tied), **(change or {})}
    kept = {name: shape for name, shape in shapes.items() if shape is not None}
    return save(folder, kept, settings | config, fill, dtype)


def plan_of(folder: Path, text: str) -> Plan:
    """Return the plan of a recipe. Its sources are closed."""
    path = folder / "recipe.yml"
    path.write_text(text, encoding="utf-8")
    config = load_config(path, METHODS)
    with open_models(refs_of(config)) as models:
        return make_plan(config, models, METHODS)


def merged(folder: Path, text: str) -> tuple[dict[str, np.ndarray], Plan]:
    """Return the tensors of the result in float32, and the plan."""
    path = folder / "recipe.yml"
    path.write_text(text, encoding="utf-8")
    config = load_config(path, METHODS)
    made = {}
    with open_models(refs_of(config)) as models:
        plan = make_plan(config, models, METHODS)
        for job in plan.jobs:
            if job.copy:
                made[job.name] = _read(job.models[0])
                continue
            base = None if job.base is None else _read(job.base)
            stack = ArrayStack([_read(model) for model in job.models], base, name=job.name)
            made[job.name] = stack.merge(METHODS[job.method].function(stack, job.settings))
    return made, plan


def _read(source: Any) -> np.ndarray:
    out = np.empty(int(np.prod(source.shape)), np.float32)
    source.fill(0, out)
    return out.reshape(source.shape)


def firsts(tensors: Mapping[str, np.ndarray], *words: str) -> dict[str, float]:
    """Return the first number of each tensor with one of these words in its name."""
    return {
        name: float(np.ravel(values)[0])
        for name, values in tensors.items()
        if any(word in name for word in words)
    }

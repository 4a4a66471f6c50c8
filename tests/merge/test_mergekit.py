"""Recipes beside mergekit, on small models: the same tensors from every feature of its YAML.

The recipes that mergekit's own repository shows are run too where a clone of it is at hand: set
``MERGEKIT_EXAMPLES`` to its folder.
"""

import json
import logging
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.merge.checkpoints import llama, merged

from inarch.errors import SettingsError
from inarch.merge import METHODS
from inarch.merge._outline import load_config

pytest.importorskip("mergekit")

MIRROR = Path("/work/.mirror/arcee-ai+mergekit/repo")
RANDOM = ("dare_linear", "dare_ties", "della", "della_linear")
"""Methods that draw numbers."""


def oracle(text: str, out: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Return the tensors and the config that mergekit makes of a recipe."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions
    from safetensors.torch import load_file

    recipe = MergeConfiguration.model_validate(yaml.safe_load(text))
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    run_merge(recipe, str(out), options)
    tensors = {}
    for file in out.glob("*.safetensors"):
        tensors |= {name: values.float().numpy() for name, values in load_file(file).items()}
    return tensors, json.loads((out / "config.json").read_text())


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    """Three fine-tunes and a base, with random numbers; T has a tied head."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    made = {name: llama(folder / name, rng) for name in ("base", "a", "b", "c")}
    return made | {"tied": llama(folder / "tied", rng, tied=True)}


def named(text: str, models: dict[str, str]) -> str:
    """Return a recipe with folders in the place of $names."""
    return re.sub(r"\$(\w+)", lambda found: models[found[1]], text)


SLICES = """
slices:
- sources: [{model: $a, layer_range: [0, 3]}, {model: $b, layer_range: [1, 4]}]
- sources: [{model: $a, layer_range: [3, 4]}, {model: $b, layer_range: [0, 1]}]
"""
FEATURES = {
    "gradients": """
merge_method: linear
models:
- {model: $a, parameters: {weight: [0, 0.3, 1]}}
- {model: $b, parameters: {weight: [1, 0.2]}}
""",
    "filters": """
merge_method: slerp
base_model: $a
models: [{model: $a}, {model: $b}]
parameters:
  t:
  - {filter: lm_head, value: [0.55]}
  - {filter: embed_tokens, value: 0.7}
  - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
  - {filter: up_proj, value: 0.9}
  - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
  - value: 0.5
""",
    "slerp from the other side": """
merge_method: slerp
base_model: $b
models: [{model: $a}]
parameters: {t: 0.3}
""",
    "gradients over slices": "merge_method: linear\nparameters: {weight: [0.1, 0.9, 0.4]}" + SLICES,
    "filters over slices": """
merge_method: linear
parameters:
  weight: [{filter: layers.1., value: 3}, {filter: layers.3., value: 5}, {value: 1}]
  normalize: [{filter: layers.0., value: false}, {filter: layers.3., value: false}]
"""
    + SLICES,
    "precedence": """
merge_method: linear
parameters: {weight: 9, normalize: false}
slices:
- sources:
  - {model: $a, layer_range: [0, 1], parameters: {weight: [{filter: mlp, value: 1}]}}
  - {model: $b, layer_range: [0, 1]}
  parameters: {weight: [{filter: self_attn, value: 2}], normalize: true}
- sources: [{model: $a, layer_range: [1, 2]}, {model: $b, layer_range: [1, 2]}]
""",
    "modules": """
merge_method: linear
parameters: {weight: 1}
modules:
  default:
    parameters: {weight: [{filter: mlp, value: 3}]}
    slices:
    - sources:
      - {model: $a, layer_range: [0, 2]}
      - {model: $b, layer_range: [2, 4], parameters: {weight: 2}}
""",
    "a base in the sources": """
merge_method: task_arithmetic
base_model: $base
parameters: {lambda: 0.7, normalize: 1.0}
slices:
- sources:
  - {model: $base, layer_range: [0, 4], parameters: {weight: 5}}
  - {model: $a, layer_range: [0, 4], parameters: {weight: [0.2, 0.8]}}
  - {model: $b, layer_range: [0, 4], parameters: {weight: 0.5}}
""",
    "a base of a slice": """
merge_method: task_arithmetic
base_model: $a
slices:
- sources: [{model: $base, layer_range: [0, 2]}, {model: $a, layer_range: [0, 2]}]
  base_model: $base
  parameters: {weight: 0.5}
""",
    "a base in a linear merge": """
merge_method: linear
base_model: $base
parameters: {weight: 0.5}
models: [{model: $a}, {model: $b}]
""",
    "ties": """
merge_method: ties
base_model: $base
models:
- {model: $base}
- {model: $a, parameters: {density: [1, 0.7, 0.1], weight: 1.0}}
- {model: $b, parameters: {density: 0.5, weight: [0, 0.3, 0.7, 1]}}
- {model: $c, parameters: {density: 0.33, weight: [{filter: mlp, value: 0.5}, {value: 0}]}}
parameters: {normalize: true, int8_mask: true}
""",
    "breadcrumbs": """
merge_method: breadcrumbs_ties
base_model: $base
models: [{model: $a, parameters: {gamma: [0, 0.1]}}, {model: $b}]
parameters: {weight: 0.5, density: 0.6}
""",
    "a stack": """
merge_method: passthrough
slices:
- sources: [{model: $a, layer_range: [0, 3]}]
- sources: [{model: $b, layer_range: [1, 4]}]
- sources:
  - model: $a
    layer_range: [2, 4]
    parameters: {scale: [{filter: o_proj, value: 0}, {filter: down_proj, value: 0.5}, {value: 1}]}
""",
    "a stack whose ends are chosen by weights of zero": """
merge_method: linear
parameters: {weight: 1.0}
slices:
- sources:
  - {model: $a, layer_range: [0, 1]}
  - {model: $b, layer_range: [0, 1], parameters: {weight: 0}}
- sources: [{model: $b, layer_range: [1, 3]}]
- sources:
  - {model: $a, layer_range: [3, 4]}
  - {model: $b, layer_range: [3, 4], parameters: {weight: 0}}
""",
    "a stack with a base": """
merge_method: passthrough
base_model: $b
slices:
- sources: [{model: $a, layer_range: [0, 1]}]
- sources: [{model: $b, layer_range: [0, 0]}]
""",
    "steps": """
merge_method: linear
models: [{model: $a, parameters: {weight: 3}}, {model: $b, parameters: {weight: 1}}]
parameters: {normalize: [false, true, false]}
""",
    "words for numbers": """
merge_method: linear
models: [{model: $a, parameters: {weight: [1e-1, 3]}}, {model: $b, parameters: {weight: "0.5"}}]
parameters: {normalize: no}
""",
    "anchors": """
merge_method: linear
models:
- {model: $a, parameters: &p {weight: [0.1, 0.9]}}
- {model: $b, parameters: *p}
- {model: $c, parameters: {<<: *p, density: 1}}
""",
    "tied heads": """
merge_method: linear
models: [{model: $tied}, {model: $a}]
parameters: {weight: 1}
""",
    "only tied heads": """
merge_method: passthrough
slices:
- sources: [{model: $tied, layer_range: [0, 2]}]
- sources: [{model: $tied, layer_range: [1, 4]}]
""",
    "model_stock": """
merge_method: model_stock
base_model: $base
models: [{model: $a, parameters: {weight: 7}}, {model: $b}, {model: $c}]
""",
    "nuslerp": """
merge_method: nuslerp
base_model: $base
models: [{model: $a, parameters: {weight: [0.1, 0.9]}}, {model: $b, parameters: {weight: 0.5}}]
""",
    "nearswap": """
merge_method: nearswap
base_model: $a
models: [{model: $b}]
parameters: {t: [{filter: mlp, value: 0.5}, {value: 0.01}]}
""",
    "karcher": """
merge_method: karcher
models: [{model: $a}, {model: $b}, {model: $c}]
parameters: {max_iter: 50, tol: 1e-9}
""",
    "multislerp": """
merge_method: multislerp
base_model: $base
models: [{model: $a, parameters: {weight: 0.2}}, {model: $b, parameters: {weight: 0.8}}]
""",
    "arcee_fusion": """
merge_method: arcee_fusion
base_model: $a
models: [{model: $a}, {model: $b}]
""",
    "sce": """
merge_method: sce
base_model: $base
models: [{model: $a}, {model: $base}, {model: $b}, {model: $c}]
parameters: {select_topk: 0.4, normalize: false, lambda: 0.3}
""",
}


@pytest.mark.parametrize("feature", FEATURES)
def test_the_same_tensors_as_mergekit(feature, models, tmp_path):
    text = named(FEATURES[feature], models) + "\ndtype: float32\n"
    ours, plan = merged(tmp_path, text)
    theirs, config = oracle(text, tmp_path / "out")
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        # Of a sum, the last bits depend on its order, which is a hash's in mergekit.
        size = np.abs(values).max()
        np.testing.assert_allclose(ours[name], values, rtol=2e-6, atol=2e-6 * size, err_msg=name)
    assert plan.config["num_hidden_layers"] == config["num_hidden_layers"]


BOTH_REFUSE = {
    "no base": "merge_method: ties\nmodels: [{model: $a, parameters: {weight: 1}}]",
    "a base outside of the sources": """
merge_method: slerp
base_model: $c
parameters: {t: 0.5}
slices:
- sources: [{model: $a, layer_range: [0, 4]}, {model: $b, layer_range: [0, 4]}]
""",
    "three models for slerp": """
merge_method: slerp
base_model: $c
parameters: {t: 0.5}
models: [{model: $a}, {model: $b}]
""",
    "t of one model": """
merge_method: slerp
base_model: $a
models: [{model: $a}, {model: $b, parameters: {t: 0.5}}]
""",
    "no weight": "merge_method: linear\nmodels: [{model: $a}]",
    "a weight for some tensors only": """
merge_method: linear
models: [{model: $a, parameters: {weight: [{filter: mlp, value: 1}]}}]
""",
    "a layer too many": """
merge_method: passthrough
slices:
- sources: [{model: $a, layer_range: [2, 5]}]
""",
    "layers of different numbers": """
merge_method: linear
parameters: {weight: 1}
slices:
- sources: [{model: $a, layer_range: [0, 2]}, {model: $b, layer_range: [0, 3]}]
""",
    "both ways": """
merge_method: linear
parameters: {weight: 1}
models: [{model: $a}]
slices: [{sources: [{model: $a, layer_range: [0, 2]}]}]
""",
    "a word for a weight": "merge_method: linear\nmodels: [{model: $a, parameters: {weight: x}}]",
    "whole numbers between two": """
merge_method: karcher
models: [{model: $a}, {model: $b}]
parameters: {max_iter: [1, 3]}
""",
}


@pytest.mark.parametrize("mistake", BOTH_REFUSE)
def test_what_mergekit_refuses_is_refused(mistake, models, tmp_path):
    text = named(BOTH_REFUSE[mistake], models)
    with pytest.raises(SettingsError):
        merged(tmp_path, text)
    with pytest.raises((ValueError, RuntimeError)):
        oracle(text, tmp_path / "out")


def examples() -> Iterator[tuple[str, str]]:
    """Name and text of every recipe in a clone of mergekit: its examples, and those of its docs."""
    root = Path(os.environ.get("MERGEKIT_EXAMPLES", MIRROR))
    if not root.is_dir():
        return
    git = ["git", "-C", str(root)]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", "HEAD"], capture_output=True, check=False
    )
    for name in listed.stdout.decode().splitlines():
        if not re.fullmatch(r"examples/.*\.ya?ml|.*\.(md|ipynb)", name):
            continue
        shown = subprocess.run([*git, "show", f"HEAD:{name}"], capture_output=True, check=False)
        text = shown.stdout.decode()
        if name.startswith("examples/"):
            yield name, text
        else:
            blocks = re.findall(r"```ya?ml\n(.*?)```", text, re.DOTALL)
            recipes = [block for block in blocks if "merge_method" in block]
            yield from ((f"{name} {i}", block) for i, block in enumerate(recipes, 1))


def models_of(text: str) -> dict[str, int]:
    """Return the models of a recipe, and how many layers each needs to have."""
    found: dict[str, int] = {}

    def visit(node: object) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item)
        if isinstance(node, dict):
            for key in ("model", "base_model"):
                if isinstance(node.get(key), str):
                    end = (node.get("layer_range") or [0, 4])[1]
                    found[node[key]] = max(found.get(node[key], 0), end)
            for item in node.values():
                visit(item)

    visit(yaml.safe_load(text))
    return found


def test_mergekits_own_examples(tmp_path):
    """They are read, and give what mergekit makes of them, on small models with as many layers."""
    done = []
    for name, text in examples():
        try:
            (tmp_path / "example.yml").write_text(text)
            load_config(tmp_path / "example.yml", METHODS)
        except SettingsError as error:
            done.append((name, str(error).split(": ", 1)[1]))
            continue
        rng = np.random.default_rng(0)
        needed = models_of(text)
        layers = max(needed.values())
        for i, model in enumerate(sorted(needed, key=len, reverse=True)):
            folder = llama(tmp_path / f"{len(done)}-{i}", rng, layers)
            text = re.sub(rf"(model: *){re.escape(model)}\b", rf"\g<1>{folder}", text)
        text = re.sub(r"(?m)^dtype:.*$", "", text) + "\ndtype: float32\n"
        ours, _ = merged(tmp_path, text)
        if yaml.safe_load(text)["merge_method"] not in RANDOM:
            theirs, _ = oracle(text, tmp_path / f"out{len(done)}")
            assert set(ours) == set(theirs), name
            for key, values in theirs.items():
                np.testing.assert_allclose(ours[key], values, rtol=2e-6, atol=1e-5, err_msg=name)
        done.append((name, "merged"))
    if not done:
        pytest.skip("needs a clone of mergekit: set MERGEKIT_EXAMPLES")
    shown = {name: how for name, how in done if name.startswith("examples/")}
    assert shown, "no examples in the clone"
    assert set(shown.values()) == {"merged"}, shown
    logging.getLogger(__name__).info("%s", done)

"""The plain mean of what a recipe merges, whatever its method."""

import pytest

from inarch.flows._search.plain_mean import plain_mean
from inarch.merge import METHODS, MergeConfig
from inarch.merge._outline import outline
from inarch.settings import to_dict, validate


def mean_of(recipe: dict[str, object]) -> MergeConfig:
    return plain_mean(validate(MergeConfig, recipe, "the test"))


def inputs(config: MergeConfig) -> dict[str | None, list[list[tuple[str, object]]]]:
    """Of each slice of each module: the models that are merged, and their layers."""
    weights = {str(entry["weight"]) for entry in weighed(to_dict(config))}
    assert weights == {"1.0"}
    assert config.parameters is None
    return {
        module: [[(one.label, one.layers) for one in part.inputs] for part in slices]
        for module, slices in outline(config, METHODS).modules.items()
    }


def weighed(value: object) -> list[dict[str, object]]:
    """All parameters that a recipe gives."""
    if isinstance(value, dict):
        own = [value["parameters"]] if value.get("parameters") else []
        return own + [found for item in value.values() for found in weighed(item)]
    return [found for item in value for found in weighed(item)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    ("method", "names", "base", "expected"),
    [
        ("ties", "ab", "base", ["a", "b"]),
        ("ties", ["a", "base", "b"], "base", ["a", "b"]),  # the base is no model of its own
        ("linear", "abc", None, ["a", "b", "c"]),
        ("slerp", ["a", "base"], "base", ["a", "base"]),  # a mean needs two
        ("slerp", "a", "base", ["a", "base"]),
        ("task_arithmetic", "a", "base", ["a", "base"]),
    ],
)
def test_models_alike(method, names, base, expected):
    entries = [{"model": name, "parameters": {"weight": [0.1, 0.9]}} for name in names]
    recipe = {"merge_method": method, "models": entries, "base_model": base, "dtype": "float32"}
    recipe |= {"parameters": {"t": 0.3, "lambda": 0.2}, "tokenizer_source": "union"}
    config = mean_of(recipe)
    assert inputs(config) == {None: [[(name, None) for name in expected]]}
    assert config.merge_method == "linear"
    assert (str(config.base_model or None), config.dtype) == (str(base), "float32")
    assert config.tokenizer_source == "union"


def test_slices_keep_their_layers():
    sources = [
        {"model": "base", "layer_range": [0, 2], "parameters": {"weight": 0.1}},
        {"model": "a", "layer_range": [1, 3]},
        {"model": "b", "layer_range": [2, 4]},
    ]
    recipe = {
        "merge_method": "ties",
        "base_model": "base",
        "slices": [{"sources": sources}, {"sources": sources[:2], "parameters": {"density": 0.1}}],
    }
    config = mean_of(recipe)
    assert inputs(config) == {
        None: [[("a", (1, 3)), ("b", (2, 4))], [("a", (1, 3)), ("base", (1, 3))]]
    }


def test_layers_that_are_put_together_stay_copies():
    sources = [{"model": name, "layer_range": [0, 2]} for name in ("a", "base")]
    recipe = {
        "merge_method": "passthrough",
        "base_model": "base",
        "slices": [{"sources": [source]} for source in sources],
        "parameters": {"scale": 0.5},
    }
    config = mean_of(recipe)
    assert inputs(config) == {None: [[("a", (0, 2))], [("base", (0, 2))]]}


def test_modules():
    part = {"models": [{"model": "a", "parameters": {"weight": 3.0}}, {"model": "b"}]}
    recipe = {"merge_method": "linear", "modules": {"vision_tower": part, "text_decoder": part}}
    config = mean_of(recipe | {"parameters": {"weight": 0.5}})
    assert inputs(config) == {key: [[("a", None), ("b", None)]] for key in recipe["modules"]}

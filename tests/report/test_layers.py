"""Numbers by tensor as maps: names, order, means and what is in no layer."""

import pytest

from inarch.report import layers
from inarch.report.layers import LayerMap, brief, coefficients_of, kind_of, layer_map

LAYER = "model.layers.{}.{}.weight"
LLAMA = [
    "input_layernorm",
    "mlp.down_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "post_attention_layernorm",
    "self_attn.k_proj",
    "self_attn.o_proj",
    "self_attn.q_proj",
    "self_attn.v_proj",
]


def test_layers_down_and_matrices_across():
    numbers = {
        LAYER.format(i, name): 10.0 * i + j for i in (0, 2, 1) for j, name in enumerate("qk")
    }
    assert layer_map(numbers) == LayerMap(
        ("q", "k"), (("0", (0.0, 1.0)), ("1", (10.0, 11.0)), ("2", (20.0, 21.0)))
    )


def test_matrices_are_in_the_order_of_use():
    columns = layer_map({LAYER.format(0, name): 1.0 for name in LLAMA}).columns
    assert columns == (
        *(f"{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")),
        "input_layernorm",
        "post_attention_layernorm",
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["attn.c_attn", "attn.c_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj"],
            ("c_attn", "attn.c_proj", "c_fc", "mlp.c_proj", "ln_1", "ln_2"),
        ),
        (
            ["attention.dense", "attention.query_key_value", "mlp.dense_4h_to_h",
             "mlp.dense_h_to_4h"],
            ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        ),
    ],
)  # fmt: skip
def test_other_families(names, expected):
    assert layer_map({f"h.0.{name}.weight": 1.0 for name in names}).columns == expected


def test_a_bias_stands_behind_its_matrix_under_its_full_name():
    names = ["self_attn.q_proj.bias", "self_attn.k_proj.weight", "self_attn.q_proj.weight"]
    shown = layer_map({f"model.layers.0.{name}": 1.0 for name in names})
    assert shown.columns == ("q_proj", "q_proj.bias", "k_proj")


def test_experts_share_a_cell_that_shows_their_mean():
    numbers = {f"model.layers.0.mlp.experts.{i}.w1.weight": float(i) for i in range(4)}
    assert layer_map(numbers) == LayerMap(("w1",), (("0", (1.5,)),))


def test_what_is_in_no_layer_is_a_row_of_its_own():
    names = [
        "lm_head.weight",
        "model.norm.weight",
        LAYER.format(0, "q"),
        "model.embed_tokens.weight",
    ]
    shown = layer_map({name: float(i) for i, name in enumerate(names)})
    assert shown.rows == (
        ("embed_tokens", 3.0),
        ("0", (2.0,)),
        ("norm", 1.0),
        ("lm_head", 0.0),
    )
    assert sorted(shown.numbers) == [0.0, 1.0, 2.0, 3.0]


def test_a_matrix_that_a_layer_lacks():
    numbers = {LAYER.format(0, "q"): 1.0, LAYER.format(1, "q"): 2.0, LAYER.format(1, "k"): 3.0}
    shown = layer_map(numbers)
    assert shown.rows == (("0", (1.0, None)), ("1", (2.0, 3.0)))
    assert shown.numbers == [1.0, 2.0, 3.0]


def test_layers_in_a_row_with_the_same_numbers_are_one_row():
    numbers = {
        LAYER.format(i, "q"): value for i, value in enumerate([1.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    }
    numbers[LAYER.format(9, "q")] = 1.0  # after a gap
    assert layer_map(numbers).rows == (
        ("0–1", (1.0,)),
        ("2", (2.0,)),
        ("3–5", (1.0,)),
        ("9", (1.0,)),
    )


def test_two_stacks_of_layers_have_names():
    numbers = {
        "model.encoder.layers.0.q.weight": 1.0,
        "model.decoder.layers.0.q.weight": 2.0,
        "model.decoder.layers.1.q.weight": 2.0,
    }
    names = [name for name, _ in layer_map(numbers).rows]
    assert names == ["encoder.layers 0", "decoder.layers 0–1"]


def test_nothing():
    assert layer_map({}) == LayerMap((), ())


@pytest.mark.parametrize(
    ("column", "expected"),
    [("q_proj", "q"), ("post_attention_layernorm", "post attn norm"), ("attn.c_proj", "attn c")],
)
def test_brief_names(column, expected):
    assert brief(column) == expected


def test_the_kind_of_a_tensor():
    assert kind_of("model.layers.7.mlp.experts.3.w1.weight") == "mlp.experts.w1"
    assert kind_of("model.norm.weight") == "model.norm"


# ------------------------------------------------------------------------------------ coefficients


def row(tensor: str, coefficients: object = None, **parameters: object) -> dict[str, object]:
    return {
        "tensor": tensor,
        "method": "m",
        "models": ["hub/math", "/a/code"],
        "base": None,
        "parameters": parameters,
        "coefficients": coefficients,
    }


def test_what_the_method_found_goes_before_what_the_recipe_says():
    found = coefficients_of([row(LAYER.format(0, "q"), [0.25, 0.75], weight=[1.0, 1.0])])
    assert found.what == "factor on each model"
    assert found.maps == {
        "math": LayerMap(("q",), (("0", (0.25,)),)),
        "code": LayerMap(("q",), (("0", (0.75,)),)),
    }


def test_the_recipes_weights_where_the_method_knows_none():
    found = coefficients_of([row(LAYER.format(0, "q"), weight=[0.5], density=[0.1, 0.2])])
    assert found.what == "weight in the recipe"
    assert [shown.numbers for shown in found.maps.values()] == [[0.5], [0.5]]
    both = [row(LAYER.format(0, "q"), weight=[2, 3]), row(LAYER.format(1, "q"), [0.1, 0.9])]
    assert coefficients_of(both).what == "factor on each model and weight in the recipe"


def test_methods_that_know_neither():
    assert coefficients_of([row("w", t=[0.5])]).maps == {}
    assert coefficients_of([]).maps == {}


def test_a_model_that_is_only_in_some_layers():
    rows = [row(LAYER.format(0, "q"), [1.0, 2.0])]
    rows.append(row(LAYER.format(1, "q"), [3.0]) | {"models": ["/a/code"]})
    found = coefficients_of(rows)
    assert found.maps["math"].rows == (("0", (1.0,)),)
    assert found.maps["code"].rows == (("0", (2.0,)), ("1", (3.0,)))


def test_models_of_one_name_keep_what_tells_them_apart():
    rows = [row("w", [1.0, 2.0]) | {"models": ["/x/run1/model", "/x/run2/model"]}]
    assert list(coefficients_of(rows).maps) == ["run1/model", "run2/model"]


def test_labels_with_odd_ends():
    assert layers._shortest(["a/", "b/"], "/") == ["a", "b"]
    assert layers._shortest(["a", "a"]) == ["a", "a"]

"""``config.json`` of a result whose layers come from anywhere."""

import pytest

from inarch.merge._rewrite import Layers, rewrite

LLAMA = {"num_hidden_layers": 4, "torch_dtype": "float32", "tie_word_embeddings": False}


def stacked(config, *layers, module="default", section=None):
    """Layers of the result, by their numbers in models with this config."""
    part = config if section is None else config[section]
    old = next(part[key] for key in ("num_hidden_layers", "n_layer", "num_layers") if key in part)
    return Layers(module, old, tuple((config, layer) for layer in layers))


def made(config, *layers, untied=False, **kwargs):
    return rewrite(config, [stacked(config, *layers, **kwargs)], "bfloat16", untied)


def test_the_same_layers_change_nothing_but_the_number_format():
    config = LLAMA | {"_name_or_path": "x", "layer_types": ["a", "b", "a", "b"], "x": None}
    found, notes = made(config, 0, 1, 2, 3)
    assert found == {
        "num_hidden_layers": 4,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "layer_types": ["a", "b", "a", "b"],
        "x": None,
    }
    assert notes == []


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "num_layers", "n_layers"])
def test_the_number_of_layers(key):
    config = {key: 4, "torch_dtype": "float32"}
    layers = Layers("default", 4, tuple((config, i) for i in (0, 1, 2, 1, 2, 3)))
    found, _ = rewrite(config, [layers], "float32", False)
    assert found[key] == 6


def test_a_section_that_is_null_is_none():
    config = LLAMA | {"text_config": None}
    layers = Layers("text_decoder", 4, tuple((config, i) for i in (0, 1)))
    found, notes = rewrite(config, [layers], "float32", True)
    assert found == LLAMA | {"num_hidden_layers": 2, "text_config": None}
    assert notes == []


def test_only_keys_with_the_old_number_change():
    config = LLAMA | {"num_layers": 2, "depth": 4}
    found, _ = made(config, 0, 1, 2)
    assert (found["num_hidden_layers"], found["num_layers"], found["depth"]) == (3, 2, 3)


def test_lists_with_an_item_per_layer_follow_the_layers():
    config = LLAMA | {"layer_types": ["a", "b", "c", "d"], "eos_token_id": [1, 2, 3, 4]}
    found, _ = made(config, 0, 1, 1, 3)
    assert found["layer_types"] == ["a", "b", "b", "d"]
    assert found["eos_token_id"] == [1, 2, 3, 4]
    assert found["num_hidden_layers"] == 4


def test_layers_of_another_model_bring_their_own_kind():
    first, other = LLAMA | {"layer_types": list("abcd")}, LLAMA | {"layer_types": list("ABCD")}
    layers = Layers("default", 4, ((first, 0), (other, 0), (other, 3)))
    found, _ = rewrite(first, [layers], "float32", False)
    assert found["layer_types"] == ["a", "A", "D"]


def test_lists_of_layer_numbers_follow_the_layers():
    found, _ = made(LLAMA | {"mlp_only_layers": [1, 3]}, 0, 1, 2, 1, 3)
    assert found["mlp_only_layers"] == [1, 3, 4]


class TestWindows:
    def test_layers_with_full_attention_are_counted(self):
        config = LLAMA | {"max_window_layers": 2, "use_sliding_window": True}
        # Layers 0 and 1 see everything; the result has 0, 1, 1, 2, 3.
        found, notes = made(config, 0, 1, 1, 2, 3)
        assert (found["max_window_layers"], notes) == (3, [])

    def test_all_of_them(self):
        found, notes = made(LLAMA | {"max_window_layers": 4}, 0, 1, 2, 0, 1, 2, 3)
        assert (found["max_window_layers"], notes) == (7, [])

    def test_a_mixture_cannot_be_said(self):
        config = LLAMA | {"max_window_layers": 2, "use_sliding_window": True}
        assert made(config, 0, 3, 1)[1] == [
            "max_window_layers can only speak of the lowest layers, and these are mixed"
        ]


class TestHeads:
    def test_a_head_of_its_own_unties(self):
        assert made({"num_hidden_layers": 1}, 0, untied=True)[0]["tie_word_embeddings"] is False
        config = {"num_hidden_layers": 1, "tie_word_embeddings": True}
        assert made(config, 0, untied=True)[0]["tie_word_embeddings"] is False

    def test_the_text_of_a_model_that_sees_is_untied_too(self):
        config = {"text_config": {"tie_word_embeddings": True}, "vision_config": {"x": 1}}
        found, _ = rewrite(config, [], "float32", True)
        assert found["tie_word_embeddings"] is False
        assert found["text_config"] == {"tie_word_embeddings": False}
        assert found["vision_config"] == {"x": 1}

    def test_without_one_nothing_is_said(self):
        assert "tie_word_embeddings" not in made({"num_hidden_layers": 1}, 0)[0]


class TestSections:
    def test_the_text_of_a_model_that_sees(self):
        config = {
            "torch_dtype": "float32",
            "text_config": {"num_hidden_layers": 2, "layer_types": ["a", "b"], "dtype": "float32"},
            "vision_config": {"num_hidden_layers": 2},
        }
        found, _ = made(config, 0, 1, 1, module="text_decoder", section="text_config")
        assert found["text_config"] == {
            "num_hidden_layers": 3,
            "layer_types": ["a", "b", "b"],
            "dtype": "bfloat16",
        }
        assert found["vision_config"] == {"num_hidden_layers": 2}

    def test_an_encoder_and_a_decoder(self):
        config = {"num_layers": 2, "num_decoder_layers": 3, "torch_dtype": "float32"}
        layers = [
            Layers("encoder", 2, ((config, 0),)),
            Layers("decoder", 3, tuple((config, i) for i in (0, 1, 1, 2))),
        ]
        found, notes = rewrite(config, layers, "float32", False)
        assert (found["num_layers"], found["num_decoder_layers"], notes) == (1, 4, [])


def test_a_config_that_does_not_say_how_many_layers():
    layers = Layers("default", 4, (({}, 0),))
    assert rewrite({}, [layers], "float32", False)[1] == [
        "no key of config.json says 4 layers; write 1 where it belongs"
    ]


def test_kinds_that_follow_from_the_number_are_noted():
    config = LLAMA | {"sliding_window_pattern": 6}
    assert made(config, 1, 2, 3)[1] == [
        "by sliding_window_pattern in config.json, a layer's kind follows from its new number"
    ]
    assert made(config | {"layer_types": list("abcd")}, 1, 2, 3)[1] == []
    assert made(config, 0, 1, 2, 3)[1] == []


def test_a_number_format_is_always_said():
    assert made({"num_hidden_layers": 1}, 0)[0]["torch_dtype"] == "bfloat16"
    assert "torch_dtype" not in made({"num_hidden_layers": 1, "dtype": "float16"}, 0)[0]
